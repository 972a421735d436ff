"""The libraries: their models by name and family, and how one is tried."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mptq_export import calibrate, export, load
from mptq_export.load.timm.preprocess import preprocessing_of
from mptq_export.verify.report import VerifyReport
from tools.conformance import (
    dense_models,
    timm_models,
    torch_models,
    torchvision_models,
    transformers_models,
    vit_pytorch_models,
)
from tools.conformance.exact import exported
from tools.peak_memory import peak_memory
from tools.random_weights import seeded

#: At which widths and batches modules of other libraries than timm are compared.
WIDTHS = ((8, 8), (4, 4))
BATCHES = (1, 3)


@dataclass(frozen=True)
class Tried:
    """What is known of a model before it is exported.

    Attributes:
        parameters: how many it has.
        side: of the image in pixels.
        compare: exports it and compares; how many values were the same, in words.
        reduced: what was made smaller than the library has it.
    """

    parameters: int
    side: int
    compare: Callable[[], str]
    reduced: str = ""


@dataclass(frozen=True)
class Library:
    """One library.

    Attributes:
        names: of its models, each with its family.
        prepare: a model by its name.
        said: what was tried, for the page.
    """

    names: Callable[[], list[tuple[str, str]]]
    prepare: Callable[[str], Tried]
    said: str


def _timm(name: str) -> Tried:
    arguments, side, parameters = timm_models.smallest(name)

    def compare() -> str:
        model = timm_models.randomised(name, arguments)
        preprocessing = preprocessing_of(model)
        size = (preprocessing.input_size[0], side, side)
        (values,) = exported(model, replace(preprocessing, input_size=size), widths=((8, 8),), batches=(2,))
        return f"{values:,} values"

    return Tried(parameters, side, compare)


def _module(model: nn.Module, side: int, reduced: str = "") -> Tried:
    """A module as anybody hands it to `load`."""

    def compare() -> str:
        loaded = load(model, input_size=(3, side, side), mean=0.5, std=0.5)
        counts = exported(loaded.model, loaded.preprocessing, loaded.outputs, widths=WIDTHS, batches=BATCHES)
        return ", ".join(f"{count:,} values at {w}/{a}" for count, (w, a) in zip(counts, WIDTHS, strict=True))

    return Tried(sum(parameter.numel() for parameter in model.parameters()), side, compare, reduced)


def _transformers(name: str) -> Tried:
    found = transformers_models.BY_NAME[name]
    model = found.filled()
    if name == "ViTMAEModel":
        model = transformers_models.Unmasked(model)
    return _module(model, found.side, "a small configuration")


def _torchvision(name: str) -> Tried:
    model, side, reduced = torchvision_models.build(name)
    return _module(seeded(model), side, reduced)


def _vit_pytorch(name: str) -> Tried:
    return _module(seeded(vit_pytorch_models.build(name)), vit_pytorch_models.MODELS[name][1], "a small configuration")


def _torch(name: str) -> Tried:
    return _module(seeded(torch_models.build(name)), torch_models.SIDE)


def _dense(name: str) -> Tried:
    """A large model as the command exports it, with all that an export checks and writes."""
    found = dense_models.MODELS[name]
    model, (height, width) = found.make(), found.size

    def compare() -> str:
        loaded = load(
            model, input_size=(3, height, width), mean=0.5, std=0.5, output=found.kinds, outputs=tuple(found.kinds)
        )
        calibrated = calibrate(loaded, count=dense_models.IMAGES)
        with tempfile.TemporaryDirectory() as folder:
            report = export(calibrated, Path(folder) / "model.onnx", bits=(8, 8), method="paper").verification
        assert isinstance(report, VerifyReport)
        return f"{report.values:,} values at 8/8, in {peak_memory() / 2**30:.1f} GiB of memory"

    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Tried(parameters, height, compare, f"whole, {height} x {width}")


LIBRARIES: dict[str, Library] = {
    "timm": Library(timm_models.names, _timm, "every transformer architecture of its registry, at 8/8 on two images"),
    "transformers": Library(
        lambda: [(found.model, found.config.removesuffix("Config")) for found in transformers_models.ARCHITECTURES],
        _transformers,
        "classes of the library with small configurations",
    ),
    "torchvision": Library(
        lambda: list(torchvision_models.NAMES.items()),
        _torchvision,
        "all of its transformers; what is reduced stands beside the name",
    ),
    "vit-pytorch": Library(
        lambda: [(name, name.partition(".")[0]) for name in vit_pytorch_models.MODELS],
        _vit_pytorch,
        "classes of the library with small arguments",
    ),
    "dense": Library(
        lambda: [(name, found.family) for name, found in dense_models.MODELS.items()],
        _dense,
        "what segments, detects and measures depth at its published size, exported as `mptq-export --method paper` "
        "does on three synthetic images; the memory is the most that the process takes",
    ),
    "torch": Library(
        lambda: [(name, name.partition(",")[0]) for name in torch_models.MODELS],
        _torch,
        "models around torch's own attention, as people write them",
    ),
}
