"""A graph is its model at every batch, or the model is refused by the name of the module that mixes images."""

from dataclasses import replace

import onnxruntime
import pytest
import torch
from batch_models import MIXING, SIZE, Flawed, RowsOfTokens, Tower
from tiny_models import FAMILIES, KINDS, captured, images, tiny

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import check_capture, largest_change, probe_images
from mptq_export.capture.follow_images import image_digits
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Reshape, Slice
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare

TOWERS = {
    "images first": lambda: Tower(batch_first=True, tokens_first=False),
    "tokens first": lambda: Tower(batch_first=False, tokens_first=True),
    "tokens first, an even number": lambda: Tower(batch_first=False, tokens_first=True, token=False),
    "tokens first, weights asked for": lambda: Tower(batch_first=False, tokens_first=True, need_weights=True),
    "rows of tokens": RowsOfTokens,
}


def ready(model: torch.nn.Module) -> torch.nn.Module:
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("kind", TOWERS)
def test_rows_in_any_order_are_right_at_every_batch_in_the_file_too(kind: str):
    torch.manual_seed(0)
    model, x = ready(TOWERS[kind]()), images("vit", 5)
    graph = capture(model, SIZE)
    check_capture(graph, model, x)
    graph = prepare(graph, x)
    calibrated = CalibratedGraph(graph, collect(graph, [x.numpy()]), x)
    graph, recipe = build_recipe(calibrated, lambda _: (8, 8), MINMAX)
    file = emit(graph, recipe, input_type="float32", producer="test").SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    together = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
    expected = model(x)
    assert (together - expected).norm() <= 0.05 * expected.norm()
    for batch in (1, 2, 3):
        alone = torch.from_numpy(session.run(None, {"input": x[:batch].numpy()})[0])
        assert torch.equal(alone, together[:batch])


@pytest.mark.parametrize("kind", MIXING)
def test_a_model_that_mixes_images_is_refused(kind: str):
    torch.manual_seed(0)
    model = ready(Flawed(kind))
    with pytest.raises(MptqError) as caught:
        check_capture(capture(model, SIZE), model, images("vit", 5))
    message = str(caught.value)
    assert "\n" not in message
    without_a_place = ("tokens taken for images", "number of the image", "one image is another case")
    assert message.startswith("Flawed" if kind in without_a_place else "mix"), message


@pytest.mark.parametrize("tokens_first", [True, False])
def test_attention_with_its_axes_exchanged_names_the_attention(tokens_first: bool):
    model = ready(Tower(batch_first=tokens_first, tokens_first=tokens_first))
    with pytest.raises(MptqError, match=r"^blocks\.0\.attn.*mixed.*batch_first"):
        check_capture(capture(model, SIZE), model, images("vit", 5))


@pytest.mark.parametrize("kind", [*KINDS, *FAMILIES])
def test_every_family_is_its_model_at_every_batch(kind: str):
    check_capture(captured(kind), tiny(kind), images(kind, 5, seed=4))


def test_a_frozen_batch_is_found_at_another_one():
    graph = captured("vit")
    node = next(node for node in graph if isinstance(node.op, Reshape) and len(node.shape.dims) == 5)
    frozen = Shape((2 * node.shape.dims[0], *node.shape.dims[1:]), None)
    spoilt = graph.updated({node.name: replace(node, shape=frozen)})
    x = images("vit", 5)
    expected = tiny("vit")(x)
    assert largest_change(graph, x, expected) < 1e-5
    assert largest_change(spoilt, x, expected) == float("inf")
    with pytest.raises(MptqError):
        check_capture(spoilt, tiny("vit"), x)


def test_another_models_graph_is_refused():
    with pytest.raises(MptqError, match="differs from the model"):
        check_capture(Graph(captured("vit"), captured("vit").output), tiny("clip"), images("vit", 5))


@pytest.mark.parametrize("given", [1, 2, 4, 5, 8])
def test_few_images_become_five_different_ones(given: int):
    probe = probe_images(images("vit", given))
    assert probe.shape == (5, *SIZE)
    assert len({image.numpy().tobytes() for image in probe}) == 5


def test_token_major_code_gives_the_file_of_image_major_code():
    """With every search: importance of rows, halves of the images, and what is held back count images."""
    torch.manual_seed(0)
    models = [ready(Tower(batch_first=first, tokens_first=not first)) for first in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    x, found = images("vit", 12), []
    for model in models:
        graph = prepare(capture(model, SIZE), x[:5])
        calibrated = CalibratedGraph(graph, collect(graph, [x.numpy()]), x)
        recipe = build_recipe(calibrated, lambda _: (4, 8), BEST)[1]
        found.append({name: quant.codes.tobytes() for name, quant in recipe.weights.items()})
    assert found[0] == found[1]


def test_a_value_without_elements_has_no_images():
    graph = captured("vit")
    source = next(node for node in graph if node.shape.batch_axis == 0 and len(node.shape.dims) == 3)
    nothing = (source.shape.dims[0], 0, *source.shape.dims[2:])
    empty = Node(Slice(axis=1, start=0, end=0), "nothing", (source.name,), Shape(nothing, 0))
    digits = image_digits(Graph([*graph, empty], graph.output))
    assert source.name in digits and empty.name not in digits
