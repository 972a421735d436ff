"""The portable form: every op of the zoo as the simulation computes it, in files that run as they stand."""

import pytest
import torch
from portable import as_written, made, made_of, steps_apart
from tiny_models import FAMILIES, KINDS, calibrated_graph, images, pixels, tiny

from mptq_export.capture.ops import Add, Constant

#: Of these every op is in the others, or they take long.
QUICK = ("vit", "swin", "rms_norm", "eva", "levit", "visformer", "siglip")
ALL = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in (*KINDS, *FAMILIES)]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("target", "bits"), [("qnn", (8, 8)), ("qnn", (4, 16)), ("rknn", (8, 8)), ("tensorrt", (8, 8))]
)
def test_every_tensor_is_the_simulations_but_for_codes_on_a_boundary(kind: str, target: str, bits: tuple[int, int]):
    model = made(kind, target, bits)
    apart = steps_apart(model, images(kind, 1, 5))
    computing = {node.name for node in model.graph if model.where.has_result(node) and node.inputs}
    assert computing <= set(apart)
    for name, steps in apart.items():
        few = (0.5 if bits == (4, 16) else 0.1) if model.where.result_bits(model.graph[name]) == 16 else 0.02
        # A cut in front of 4-bit weights has a scale of its own (`recode_cuts`): one step of what a Gemm reads.
        assert float(steps.max()) <= (2 if bits == (4, 16) else 1), name
        assert float((steps > 0).float().mean()) <= max(few, 1.5 / steps.numel()), name


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("target", ["generic", "qnn", "rknn"])
def test_the_file_is_near_the_model(kind: str, target: str):
    x, session = images(kind, 4, 5), as_written(made(kind, target).file)
    found = torch.cat([torch.from_numpy(session.run(None, {"input": part.numpy()})[0]) for part in x.split(1)])
    with torch.no_grad():
        wanted = tiny(kind)(x)
    spread = float((wanted - wanted.mean(0)).abs().mean())
    assert float((found - wanted).abs().mean()) < 0.6 * spread


@pytest.mark.parametrize("target", ["qnn", "rknn", "generic"])
def test_pixels_go_in_as_they_are(target: str):
    model = made_of(calibrated_graph("swin"), target, input_type="uint8")
    raw, x = pixels("swin", 2, 5), images("swin", 2, 5)
    session = as_written(model.file)
    found = torch.cat([torch.from_numpy(session.run(None, {"input": part.numpy()})[0]) for part in raw.split(1)])
    with torch.no_grad():
        simulated, wanted = model.simulation.logits(model.graph, x), tiny("swin")(x)
    spread = float((wanted - wanted.mean(0)).abs().mean())
    assert float((found - simulated).abs().mean()) < 0.2 * spread
    assert float((found - wanted).abs().mean()) < 0.6 * spread


def test_a_mask_leaves_steps_for_the_scores():
    model = made("swin", "qnn")
    masked = [n for n in model.graph if isinstance(n.op, Constant) and float(n.params["value"].min()) < -90]
    assert masked
    for node in masked:
        reader = next(n for n in model.graph if isinstance(n.op, Add) and node.name in n.inputs)
        live = model.graph.root(next(name for name in reader.inputs if name != node.name))
        scores = model.recipe.activations[f"{live.name}.output"]
        added = model.recipe.activations[f"{reader.name}.output"]
        assert added.scale < 4 * scores.scale  # of 255 steps for -100 to 0 there would be few in the scores
