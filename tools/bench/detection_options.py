"""How the tools of detectors load one: the same options for all of them, and for `mptq-export`."""

import argparse
from dataclasses import asdict, dataclass
from typing import Any

from mptq_export.api import load
from mptq_export.load.loaded import LoadedModel


@dataclass(frozen=True)
class Loading:
    """A detector, and what nobody but the user says of its images.

    Attributes:
        model: as `mptq-export` takes it, such as `examples.detection.detectors:fcos`.
        img_size: pixels of either side; None where the detector says it.
        mean: of pixels in 0..1; None as before.
        std: as before.
        crop_mode: how pictures become the input; None as before.
    """

    model: str
    img_size: int | None = None
    mean: float | None = None
    std: float | None = None
    crop_mode: str | None = None

    def load(self) -> LoadedModel:
        """The float detector."""
        return load(self.model, **self._said())

    def words(self) -> list[str]:
        """The same for a command line: the model and the options that were given."""
        said = ((f"--{name.replace('_', '-')}", str(value)) for name, value in self._said().items())
        return [self.model, *(word for pair in said for word in pair)]

    def _said(self) -> dict[str, Any]:
        values = asdict(self)
        del values["model"]
        return {name: value for name, value in values.items() if value is not None}


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Add the model and the options of `Loading`."""
    parser.add_argument("model", metavar="MODEL", help="As mptq-export takes it: package.module:factory.")
    parser.add_argument("--img-size", type=int, metavar="N", help="Where the detector does not say it; as the next.")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--crop-mode", choices=("corner", "squash"))
