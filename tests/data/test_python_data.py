"""Calibration data that a program hands over: arrays, tensors, lists of files, data sets, DataLoaders, generators."""

from collections import UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mptq_export.data.calibration import open_calibration
from mptq_export.data.given import Given
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import USUAL, Reading
from mptq_export.data.sources import held
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.support.errors import MptqError

COUNT = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 12, 12, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 20, 3), dtype=np.uint8)) for i in range(20)]


@pytest.fixture
def inputs(preprocessing: Preprocessing) -> NDArray[np.float32]:
    return preprocessing.normalize(PIXELS)


def source_of(
    data: Any,
    how: Preprocessing,
    *,
    count: int = 128,
    reading: Reading = USUAL,
    transform: Callable[[Image.Image], Any] | None = None,
) -> CalibrationSource:
    return open_calibration(None, how, count=count, reading=reading, given=Given(data, transform))


def values(source: CalibrationSource) -> NDArray[np.float32]:
    found = np.concatenate(list(source.batches(7)))
    assert found.dtype == np.float32 and len(found) == source.count
    assert np.array_equal(found, np.concatenate(list(source.batches(16))))  # a second pass gives the same
    return found


def compared(source: CalibrationSource, most: int = 64) -> tuple[NDArray[np.float32], int]:
    fixed = source.comparison(most)
    found = np.stack(list(fixed.rows))
    assert len(found) == fixed.count
    return found, fixed.calibrated


def as_inputs(pictures: list[Image.Image], how: Preprocessing) -> NDArray[np.float32]:
    return how.normalize(np.stack([how.transform_uint8(picture) for picture in pictures]))


class Items(Dataset[Any]):
    """A data set of items that can be asked for by their numbers, as those of torchvision and `datasets` can."""

    def __init__(self, items: Any) -> None:
        self.items, self.asked = items, list[int]()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __init__(self, items: Any) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        yield from self.items


@pytest.mark.parametrize("kind", ["array", "float64", "tensor", "half"])
def test_an_array_is_spread_evenly(preprocessing: Preprocessing, inputs: NDArray[np.float32], kind: str):
    half = torch.from_numpy(inputs).bfloat16()
    data = {"array": inputs, "float64": inputs.astype(np.float64), "tensor": torch.from_numpy(inputs), "half": half}
    source = source_of(data[kind], preprocessing, count=20)
    expected = half.float().numpy() if kind == "half" else inputs
    assert np.array_equal(values(source), expected[::2])
    assert source.description == f"20 inputs of a {'ndarray' if kind in ('array', 'float64') else 'Tensor'}"
    assert source.warnings == ()
    others, seen = compared(source, 10)
    assert seen == 0 and not (others[:, None] == values(source)[None]).all((2, 3, 4)).any()


def test_a_tensor_with_a_gradient_and_a_list_of_arrays(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    with_gradient = torch.from_numpy(inputs).requires_grad_()
    assert np.array_equal(values(source_of(with_gradient, preprocessing)), inputs)
    assert np.array_equal(values(source_of([*inputs], preprocessing, count=10)), inputs[::4])
    assert np.array_equal(values(source_of([torch.from_numpy(x) for x in inputs], preprocessing)), inputs)


@pytest.mark.parametrize("kind", ["tensors", "tuples", "lists", "pixel_values", "image", "batch feature", "pairs"])
def test_batches_of_every_kind(preprocessing: Preprocessing, inputs: NDArray[np.float32], kind: str):
    batches = [torch.from_numpy(inputs[i : i + 16]) for i in range(0, COUNT, 16)]
    wrap: dict[str, Callable[[torch.Tensor], Any]] = {
        "tensors": lambda x: x,
        "tuples": lambda x: (x, torch.arange(len(x))),
        "lists": lambda x: [x.numpy(), list(range(len(x)))],
        "pixel_values": lambda x: {"labels": torch.arange(len(x)), "pixel_values": x},
        "image": lambda x: {"image": x},
        "batch feature": lambda x: UserDict(pixel_values=x),
        "pairs": lambda x: (tuple(x), [{"boxes": 1}] * len(x)),  # as torchvision's detection collates
    }
    given = [wrap[kind](batch) for batch in batches]
    source = source_of((batch for batch in given), preprocessing)
    assert np.array_equal(values(source), inputs)
    assert source.description == f"{COUNT} inputs of a generator" and source.warnings == ()
    assert np.array_equal(values(source_of(given, preprocessing)), inputs)


def test_a_generator_is_read_once_and_no_further_than_needed(
    preprocessing: Preprocessing, inputs: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
):
    read = 0

    def endless() -> Iterator[NDArray[np.float32]]:
        nonlocal read
        while True:
            yield inputs[read * 8 % COUNT :][:8]
            read += 1

    monkeypatch.setattr(held, "_FIRST", 3)
    source = source_of(endless(), preprocessing, count=20)
    assert np.array_equal(values(source), inputs[:20])
    assert read == 10  # 20 that are calibrated on and 64 that follow, eight at a time
    others, seen = compared(source)
    assert seen == 0 and np.array_equal(others, np.resize(inputs, (84, 3, 12, 12))[20:])
    assert len(compared(source, 8)[0]) == 8


def test_where_nothing_follows_the_same_inputs_are_compared(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    source = source_of(iter([inputs[:20]]), preprocessing)
    others, seen = compared(source, 10)
    assert seen == 10 and np.array_equal(others, inputs[:20:2])
    assert source.comparison(10).description == "10 of 20 inputs of a generator".replace("generator", "list_iterator")


def test_a_data_loader(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    data = Items([(torch.from_numpy(x), i % 3) for i, x in enumerate(inputs)])
    loader = DataLoader(data, batch_size=8)
    source = source_of(loader, preprocessing, count=32)
    assert np.array_equal(values(source), inputs[:32])
    assert source.description == "32 inputs of a DataLoader" and source.warnings == ()
    assert np.array_equal(compared(source)[0], inputs[32:])
    assert np.array_equal(values(source_of(DataLoader(Stream([*inputs]), batch_size=8), preprocessing)), inputs)


def test_a_data_set_is_spread_evenly_and_read_where_it_must_be(
    preprocessing: Preprocessing, inputs: NDArray[np.float32]
):
    data = Items([(torch.from_numpy(x), i // 20) for i, x in enumerate(inputs)])
    source = source_of(data, preprocessing, count=20)
    assert np.array_equal(values(source), inputs[::2])
    assert data.asked == [0, *range(0, COUNT, 2)] and source.warnings == ()
    assert np.array_equal(compared(source, 5)[0], inputs[[3, 11, 19, 27, 35]])
    assert np.array_equal(values(source_of(Stream([*inputs]), preprocessing, count=20)), inputs[:20])


def test_a_data_set_of_pictures(preprocessing: Preprocessing, tmp_path: Path):
    expected = as_inputs(PICTURES, preprocessing)
    hugging_face = Items([{"image": picture, "label": i} for i, picture in enumerate(PICTURES)])
    torchvision = Items([(picture, i) for i, picture in enumerate(PICTURES)])
    masked = [(picture, picture.convert("L")) for picture in PICTURES]
    for data in (hugging_face, torchvision, masked, PICTURES, iter(PICTURES), iter([PICTURES[:3], PICTURES[3:]])):
        assert np.array_equal(values(source_of(data, preprocessing)), expected)
    assert np.array_equal(values(source_of({"image": PICTURES}, preprocessing)), expected)
    assert np.array_equal(values(source_of(PICTURES[0], preprocessing)), expected[:1])
    for i, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{i:02}.png")
    paths = sorted(tmp_path.iterdir())
    assert np.array_equal(values(source_of(iter(paths), preprocessing)), expected)


def test_a_list_of_files_is_read_as_a_folder_is(preprocessing: Preprocessing, folder: Path):
    files = sorted(folder.rglob("[!.]*.*[gG]"))[::-1]
    source = source_of([str(file) for file in files], preprocessing, count=4)
    assert np.array_equal(values(source), as_inputs([Image.open(files[i]) for i in (0, 2, 4, 6)], preprocessing))
    assert source.description == f"4 images of {folder} (a list of files)"
    assert compared(source, 3)[1] in range(4)
    (folder / "cat" / "1.jpg").write_bytes(b"")
    with pytest.raises(MptqError, match=r"1 of 8 images .* cannot be used"):
        source_of(files, preprocessing)
    source = source_of(files, preprocessing, reading=Reading(allow_skipped=True))
    assert (source.count, source.skipped) == (7, 1)
    with pytest.raises(MptqError, match=r"none\.png of the list of files is no file"):
        source_of([*files, folder / "none.png"], preprocessing)


def own(how: Preprocessing, shift: float = 0.0) -> Callable[[Image.Image], torch.Tensor]:
    """What timm's and torchvision's transforms do, by hand."""

    def prepare(image: Image.Image) -> torch.Tensor:
        assert image.mode == "RGB"
        return torch.from_numpy(how.normalize(how.transform_uint8(image)[None])[0] + shift)

    return prepare


@pytest.mark.parametrize("kind", ["folder", "files", "pictures"])
def test_a_transform_of_ones_own(preprocessing: Preprocessing, tmp_path: Path, kind: str):
    for i, picture in enumerate(PICTURES):
        picture.convert("L").save(tmp_path / f"{i:02}.png")
    pictures = [picture.convert("L") for picture in PICTURES]
    expected = as_inputs([picture.convert("RGB") for picture in pictures], preprocessing) + np.float32(0.05)
    given = Given(
        {"folder": None, "files": sorted(tmp_path.iterdir()), "pictures": pictures}[kind], own(preprocessing, 0.05)
    )
    source = open_calibration(tmp_path if kind == "folder" else None, preprocessing, count=99, given=given)
    assert np.array_equal(values(source), expected) and source.warnings == ()
    assert source.description.endswith(", prepared by prepare")
    found, seen = compared(source)
    assert seen == 20 and np.array_equal(found, expected)


def test_a_transform_that_is_not_the_models_is_said(preprocessing: Preprocessing):
    def warned(transform: Callable[[Image.Image], Any]) -> str:
        (warning,) = source_of(PICTURES, preprocessing, transform=transform).warnings
        return warning

    usual = own(preprocessing)
    plain = lambda image: np.asarray(image.resize((12, 12)), np.float32).transpose(2, 0, 1) / 255  # noqa: E731
    assert "look like pixels of 0..1 that were not normalised; is the model" in warned(plain)
    assert "gives other inputs than the model's own preprocessing" in warned(lambda image: usual(image.rotate(180)))
    turns = iter(range(1000))
    again = warned(lambda image: usual(image) + next(turns) / 1e4)
    assert "is random: two calls on one image differ" in again


def test_what_only_its_labels_tell(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    batches = [(x, torch.full((len(x),), 3)) for x in torch.from_numpy(inputs).split(8)]
    (warning,) = source_of(iter(batches), preprocessing).warnings
    assert "40 inputs of a list_iterator all have the label 3: shuffle them" in warning
    assert "are all the same" in source_of(iter([inputs[:1]] * 20), preprocessing).warnings[0]
    assert source_of([inputs[:4]], preprocessing).warnings[0].startswith("calibrated on 4 inputs only")


def test_what_cannot_be_calibrated_on(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    def broken() -> Iterator[Any]:
        yield inputs[:8]
        raise KeyError("worker")

    nan = inputs.copy()
    nan[17, 1, 2, 3] = np.nan
    for data, words in (
        (3, "a int is no calibration data; give a folder"),
        ([], "a list is empty"),
        (iter(()), "is empty"),
        (inputs[:0], "it is empty"),
        ([[]], "item 0 of a list is empty"),
        (inputs[0], "it is one input"),
        (inputs.transpose(0, 2, 3, 1), "the channels are last"),
        (PIXELS.transpose(0, 3, 1, 2), "holds uint8, not floats"),
        (nan, "input 17 holds NaN or Inf"),
        (iter([inputs[:8], nan[8:]]), "item 1 of a list_iterator: input 9 holds NaN or Inf"),
        (iter([inputs[:, :1]]), r"item 0 of a list_iterator has shape \[40, 1, 12, 12\], the model takes"),
        (iter([inputs, inputs[:, :, :8]]), "item 1 of a list_iterator has shape"),
        (iter([torch.arange(3)]), r"has shape \[3\].*give images, alone or first in a tuple"),
        ({"input_ids": 1, "mask": 2}, "is a dictionary of input_ids, mask, and of none of pixel_values, images"),
        (iter([object()]), "item 0 of a list_iterator is a object; it must be an array"),
        (iter([{"image": None}]), "is a dictionary of image"),
        ([[[1.0], [1.0, 2.0]]], "lists that are no array"),
        (broken(), "a generator raised KeyError after item 0: 'worker'"),
        (PIXELS.transpose(0, 3, 1, 2) / 255, "look like pixels of 0..1 that were not normalised"),
        (iter([PIXELS.transpose(0, 3, 1, 2) / 255]), "look like pixels of 0..1 .*any_range=True"),
    ):
        with pytest.raises(MptqError, match=words) as caught:
            source_of(data, preprocessing)
        assert "\n" not in str(caught.value)
    unit = PIXELS.transpose(0, 3, 1, 2) / 255
    assert source_of(unit, preprocessing, reading=Reading(any_range=True)).count == COUNT
    assert source_of(iter([unit]), preprocessing, reading=Reading(any_range=True)).count == COUNT


def test_options_and_transforms_that_do_not_belong(preprocessing: Preprocessing, inputs: NDArray[np.float32]):
    usual = own(preprocessing)
    for data, reading, transform, words in (
        (inputs, USUAL, usual, "transform takes pictures, and the data is a ndarray"),
        (iter([inputs]), USUAL, usual, "gives arrays, and transform takes pictures"),
        (None, USUAL, usual, "transform takes pictures, and synthetic images need none"),
        (PICTURES, USUAL, 3, "transform is a int, not a function"),
        (PICTURES, USUAL, lambda _image: 1 / 0, "transform <lambda> raised ZeroDivisionError: division by zero"),
        (PICTURES, USUAL, lambda image: image, "transform .* gives a Image; it must be an array"),
        (PICTURES, USUAL, lambda _image: np.zeros((3, 8, 8), np.float32), r"has shape \[1, 3, 8, 8\]"),
        (PICTURES, USUAL, lambda _image: np.zeros((3, 12, 12), np.uint8), "holds uint8"),
        (PICTURES, USUAL, lambda _image: np.full((3, 12, 12), np.nan, np.float32), "holds NaN or Inf"),
        (inputs, Reading(exif=True), None, "exif does not belong to a ndarray"),
        (PICTURES, Reading(allow_skipped=True), None, "allow_skipped does not belong to a list"),
    ):
        with pytest.raises(MptqError, match=words):
            source_of(data, preprocessing, reading=reading, transform=transform)
    with pytest.raises(MptqError, match=r"transform takes pictures, and .* need none"):
        open_calibration(Path("x.npy"), preprocessing, count=3, given=Given(None, usual))
