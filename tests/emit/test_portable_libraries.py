"""Models of other libraries in the portable form: each tensor as simulated, and every rule of the target kept."""

import pytest
import torch
from portable import as_written, made_of, steps_apart
from zoo import LIBRARIES, randomised
from zoo.dense import DENSE

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import probe_images
from mptq_export.capture.run import capture
from mptq_export.data.synthetic import dead_leaves
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.targets.file.check import check_file
from mptq_export.transform.prepare import prepare

NORMALISATION = ((0.5,) * 3, (0.5,) * 3)

#: Several outputs that are no logits.
QUICK = "YolosForObjectDetection"
TARGETS = ("qnn", "rknn", "generic", "tensorrt")


def of_library(library: str, name: str) -> CalibratedGraph:
    """A classifier or encoder."""
    if library in ("transformers", "vit_pytorch"):
        pytest.importorskip(library, reason=f"these models are {library}'s")
    side, make = LIBRARIES[library][name]
    torch.manual_seed(0)
    pixels = torch.from_numpy(dead_leaves(4, side)).permute(0, 3, 1, 2).float()
    seen = ((pixels / 255 - 0.5) / 0.5).contiguous()
    graph = prepare(capture(randomised(make()), tuple(seen.shape[1:])), probe_images(seen), NORMALISATION)
    return CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)


def of_dense(name: str) -> CalibratedGraph:
    """A model that gives maps, boxes or features."""
    pytest.importorskip("transformers", reason="these are models of transformers")
    dense = DENSE[name]
    coarse = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    seen = torch.nn.functional.interpolate(coarse, dense.size[1:], mode="bilinear").contiguous()
    graph = prepare(capture(dense.build(), dense.size, dense.outputs), seen[:3])
    return CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)


def check(calibrated: CalibratedGraph) -> None:
    for target in TARGETS:
        model = made_of(calibrated, target)
        assert check_file(model.file, target) == []
        session = as_written(model.file)
        assert [each.name for each in session.get_outputs()] == list(model.graph.outputs)
        if model.where.form.everywhere:
            for name, steps in steps_apart(model, calibrated.images[:1]).items():
                assert float(steps.max()) <= 1, (target, name)
                assert float((steps > 0).float().mean()) <= max(0.1, 1.5 / steps.numel()), (target, name)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), [(library, name) for library, all_ in LIBRARIES.items() for name in all_])
def test_a_model_of_a_library_is_as_simulated(library: str, name: str):
    check(of_library(library, name))


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DENSE]
)
def test_a_dense_model_is_as_simulated(name: str):
    check(of_dense(name))
