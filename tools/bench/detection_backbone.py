"""A detector's backbone alone, quantized: what is left of the drop when heads and pyramid stay float.

    python -m tools.bench.detection_backbone MODEL --backbone backbone.swin --calib DIR --bits 4/4 -o MAPS.onnx

writes an exact file of one module of the detector, which `tools.bench.detection_ap` puts in the module's place.
"""

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mptq_export.api import calibrate, export, load
from mptq_export.cli.values import bits_from
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from tools.bench.detection_options import Loading, add_loading
from tools.options import Parser, existing, positive


class Maps(nn.Module):
    """A backbone as a module with one tensor an output, whether it gives a tensor, a list or a dictionary of them."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All maps, in the backbone's own order and layout."""
        return tuple(_tensors(self.backbone(x)))


class QuantizedMaps(nn.Module):
    """The file of `Maps` in onnxruntime, in the place of the backbone: it gives what that gives."""

    def __init__(self, backbone: nn.Module, file: Path, threads: int) -> None:
        super().__init__()
        self.backbone = backbone  # says only what the result looks like
        self._session = open_session(file, threads=threads)

    def forward(self, x: torch.Tensor) -> Any:
        """The quantized maps of normalised images [B, 3, height, width]."""
        found = self._session.run(None, {self._session.get_inputs()[0].name: np.ascontiguousarray(x.numpy())})
        maps, like = [torch.from_numpy(value) for value in found], self.backbone(x[:1])
        if isinstance(like, torch.Tensor):
            return maps[0]
        return dict(zip(like, maps, strict=True)) if isinstance(like, dict) else type(like)(maps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.detection_backbone", __doc__)
    add_loading(parser)
    parser.add_argument("--backbone", required=True, metavar="PATH", help="The module, such as backbone.swin.")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--bits", default="4/4", metavar="W/A")
    parser.add_argument("--device")
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="MAPS.onnx")
    return parser.run(run, arguments)


def run(
    *,
    backbone: str,
    calib: Path,
    count: int,
    bits: str,
    device: str | None,
    out: Path,
    **loading: Any,
) -> None:
    detector = Loading(**loading).load()
    try:
        module = copy.deepcopy(detector.model.get_submodule(backbone))
    except AttributeError as error:
        raise MptqError(f"--backbone {backbone} is no module of the detector ({error})") from error
    prepare = detector.preprocessing
    maps = load(
        Maps(module).eval(),
        input_size=prepare.input_size,
        mean=prepare.mean,
        std=prepare.std,
        interpolation=prepare.interpolation,
        crop_pct=prepare.crop_pct,
        crop_mode=prepare.crop_mode,
    )
    export(calibrate(maps, calib, count=count, device=device), out, bits=bits_from(bits), force=True)
    print(f"{out}: {out.stat().st_size} bytes, {len(open_session(out).get_outputs())} maps")


def _tensors(found: Any) -> list[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        return [found]
    return list(found.values()) if isinstance(found, dict) else list(found)


if __name__ == "__main__":
    sys.exit(main())
