"""What is loaded of torchvision's detectors gives, with the glue, what torchvision gives itself."""

from typing import Any

import numpy as np
import pytest
import tiny_detectors
import torch
from tiny_detectors import CLASSES, SIZE
from torch import nn

from mptq_export.data.placement import Placement
from mptq_export.detect.glue import Network, Networks, detect
from mptq_export.load.forward import tensors
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.run import load

_BATCH = 2


def network(loaded: LoadedModel) -> Network:
    """A loaded network as the glue calls it."""

    def run(inputs: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = tensors(loaded.model(torch.from_numpy(inputs)))
        return {each.name: x.numpy() for each, x in zip(loaded.outputs, found, strict=True)}

    return run


@pytest.mark.parametrize("make", ["fcos", "retinanet", "faster_rcnn", "mask_rcnn"])
def test_networks_and_description_give_what_torchvision_gives(make: str):
    detector = getattr(tiny_detectors, make)()
    loaded = load(detector, img_size=SIZE)
    assert loaded.detector is not None
    pictures = torch.rand(_BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    detector.transform.min_size, detector.transform.max_size = (SIZE,), SIZE
    with torch.no_grad():
        expected = detector(list(pictures))
    mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in (loaded.preprocessing.mean, loaded.preprocessing.std))
    networks = Networks(network(loaded), *map(network, loaded.heads))
    placements = [Placement((SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE))] * _BATCH
    found = detect(loaded.detector, networks, ((pictures - mean) / std).numpy(), placements)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs["scores"]) > 0
        np.testing.assert_array_equal(ours.labels, theirs["labels"].numpy())
        np.testing.assert_allclose(ours.scores, theirs["scores"].numpy(), atol=1e-5)
        np.testing.assert_allclose(ours.boxes, theirs["boxes"].numpy(), atol=1e-3)
        if make == "mask_rcnn":
            same = np.stack(list(ours.masks())) == (theirs["masks"][:, 0] > 0.5).numpy()
            assert same.mean() > 0.999


def test_a_head_that_looks_at_all_levels_together_is_kept():
    class Scaled(nn.Module):
        """A factor a level, as in the paper of FCOS."""

        def __init__(self, head: Any) -> None:
            super().__init__()
            self.head = head

        def forward(self, maps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
            return self.head([x * (number + 1) for number, x in enumerate(maps)])

    detector = tiny_detectors.fcos()
    images = torch.randn(_BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    detector.head = Scaled(detector.head)
    found = tensors(load(detector, img_size=SIZE).model(images))
    with torch.no_grad():
        expected = detector.head(list(detector.backbone(images).values()))["cls_logits"]
    torch.testing.assert_close(torch.cat(found[:4], 1), expected)


def test_one_stage():
    loaded = load(tiny_detectors.fcos(), img_size=SIZE)
    names = [f"{kind}.{level}" for kind in ("scores", "boxes", "centerness") for level in ("0", "1", "p6", "p7")]
    assert [each.name for each in loaded.outputs] == names
    assert {each.kind for each in loaded.outputs} == {"scores", "boxes"}
    detector = loaded.detector
    assert detector is not None
    assert (detector.family, detector.part, detector.classes) == ("fcos", "network", CLASSES)
    assert [level.stride for level in detector.levels] == [(4, 4), (8, 8), (16, 16), (32, 32)]
    assert (loaded.arch, loaded.library, loaded.heads) == ("FCOS", "torchvision", ())


def test_two_stages():
    loaded = load(tiny_detectors.mask_rcnn())
    assert [each.name for each in loaded.outputs][-2:] == ["features.0", "features.1"]
    parts = [each.detector.part for each in (loaded, *loaded.heads) if each.detector]
    assert parts == ["proposals", "box", "mask"]
    assert [[each.name for each in head.outputs] for head in loaded.heads] == [["scores", "deltas"], ["masks"]]
    assert [head.preprocessing.input_size for head in loaded.heads] == [(8, 3, 3), (8, 6, 6)]
    names = [name for head in loaded.heads for name, _ in head.model.named_modules() if name.endswith(("fc6", "mask"))]
    assert "roi_heads.box_head.fc6" in names


def test_pixels_are_normalised_as_the_detector_does_it():
    loaded = load(tiny_detectors.fcos(image_mean=[0.5] * 3, image_std=[0.25] * 3), img_size=SIZE)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)
    assert loaded.preprocessing.crop_mode == "corner"
    with pytest.warns(UserWarning, match=r"--mean 0\.1 overrules the mean that FCOS normalises images with"):
        assert load(tiny_detectors.fcos(), img_size=SIZE, mean=0.1).preprocessing.mean == (0.1,) * 3


def test_names_of_classes():
    names = ("cat", "dog", "cow")
    found = load(tiny_detectors.faster_rcnn(), class_names=names)
    assert found.detector is not None
    assert found.detector.names == names


def test_some_outputs_are_no_detector():
    with pytest.warns(UserWarning, match="makes no boxes"):
        loaded = load(tiny_detectors.faster_rcnn(), outputs=("features.1",))
    assert (loaded.detector, loaded.heads) == (None, ())
    assert [each.name for each in loaded.outputs] == ["features.1"]
