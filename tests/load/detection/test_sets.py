"""YOLOS and DETR of transformers: what their file says gives the boxes that the library's processor gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mptq_export.data.placement import squash
from mptq_export.detect.glue import Networks, detect
from mptq_export.load.forward import tensors
from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.load.run import load
from mptq_export.support.errors import MptqError

library = pytest.importorskip("transformers", reason="YOLOS and DETR are modules of transformers")
from transformers_models import KINDS, MORE, saved  # noqa: E402 - it needs the library
from zoo.dense import DENSE  # noqa: E402

_BATCH = 2
_SIZE = 64
YOLOS = (KINDS | MORE)["yolos"]


def made(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    module = DENSE[name].make()
    for key, value in changes.items():
        setattr(module.config, key, value)
    return module


def boxes(loaded: LoadedModel, images: torch.Tensor) -> list[Any]:
    """What the glue makes of a loaded network."""
    assert loaded.detector is not None
    height, width = loaded.detector.image

    def run(inputs: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = tensors(loaded.model(torch.from_numpy(inputs)))
        return {each.name: x.numpy() for each, x in zip(loaded.outputs, found, strict=True)}

    placements = [squash((height, width), (height, width))] * len(images)
    return detect(loaded.detector, Networks(run), images.numpy(), placements)


@pytest.mark.parametrize("name", ["YolosForObjectDetection", "DetrForObjectDetection"])
def test_a_module_gives_the_boxes_of_the_librarys_processor(name: str):
    module, size = made(name), DENSE[name].size
    loaded = load(module, input_size=size, mean=0.5, std=0.5)
    assert [(each.name, each.kind) for each in loaded.outputs] == [("logits", "choices"), ("pred_boxes", "boxes")]
    assert loaded.preprocessing.shows_all
    images = torch.randn(_BATCH, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        given = module.eval()(pixel_values=images)
    expected = library.DetrImageProcessor().post_process_object_detection(given, 0.0, [size[1:]] * _BATCH)
    for ours, theirs in zip(boxes(loaded, images), expected, strict=True):
        order = theirs["scores"].argsort(descending=True, stable=True)
        np.testing.assert_allclose(ours.scores, theirs["scores"][order], atol=1e-5)
        np.testing.assert_array_equal(ours.labels, theirs["labels"][order])
        np.testing.assert_allclose(ours.boxes, theirs["boxes"][order], atol=1e-3)


def test_names_are_those_of_the_configuration_or_the_callers():
    module = made("YolosForObjectDetection")
    size = DENSE["YolosForObjectDetection"].size
    classes = module.config.num_labels
    said = {"input_size": size, "mean": 0.5, "std": 0.5}
    names = [f"thing {number}" for number in range(classes)]
    module.config.id2label = dict(enumerate(names))
    found = load(module, **said).detector
    assert found is not None
    assert (found.names, found.classes, found.family, found.part) == (tuple(names), classes, "set", "network")
    own = load(module, class_names=names[::-1], **said).detector
    assert own is not None
    assert own.names == tuple(names[::-1])
    with pytest.raises(MptqError, match=f"1 class names are given, and YolosForObjectDetection has {classes} classes"):
        load(module, class_names=["thing"], **said)


def test_a_folder_says_the_same(tmp_path: Path):
    saved(YOLOS, tmp_path)
    asked = ModelRequest(str(tmp_path), inputs=InputOptions(img_size=(YOLOS.size, YOLOS.size)))
    found = load_asked(asked)
    assert found.detector is not None
    assert found.detector.family == "set"
    assert found.detector.image == (YOLOS.size, YOLOS.size)
    assert load_asked(replace(asked, outputs=("pred_boxes",))).detector is None


def test_what_decodes_otherwise_is_not_described():
    name = "ConditionalDetrForObjectDetection"
    loaded = load(made(name), input_size=DENSE[name].size, mean=0.5, std=0.5)
    assert loaded.detector is None
