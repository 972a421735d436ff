"""What a row is measured with: commands, a folder for files, and exports that several rows share."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tools.figures.commands import Commands
from tools.figures.models import Model

Facts = dict[str, Any]
"""What is known of a file that was made: plain JSON values."""


@dataclass(frozen=True)
class Bench:
    """One worker's bench.

    Attributes:
        commands: runs the project's commands.
        folder: for files; what another worker of this commit made lies there too.
        devices: torch devices of exports, which workers take in turn; none for their default.
        device: that of this worker.
        locks: one for every file that several rows need, shared by all workers.
    """

    commands: Commands
    folder: Path
    devices: tuple[str, ...] = ()
    device: str | None = None
    locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def on(self, worker: int, cores: frozenset[int]) -> "Bench":
        """That of one worker, on CPUs of its own."""
        device = self.devices[worker % len(self.devices)] if self.devices else None
        return replace(self, commands=self.commands.on(cores), device=device)

    @property
    def device_option(self) -> tuple[str, ...]:
        """The device for ``mptq-export``."""
        return ("--device", self.device) if self.device else ()

    def once(self, name: str, make: Callable[[Path], Facts]) -> Facts:
        """What `make` tells of the file ``folder/NAME.onnx`` that it writes; made once, whichever row asks first.

        Args:
            name: of the file without its suffix.
            make: writes files to names that begin with the given path, and tells about them.
        """
        told = self.folder / f"{name}.made.json"
        with self.locks[name]:
            if not told.exists():
                told.parent.mkdir(parents=True, exist_ok=True)
                found = make(self.folder / f"{name}.onnx")
                told.write_text(json.dumps(found), encoding="utf-8")
        read: Facts = json.loads(told.read_text(encoding="utf-8"))
        return read

    def export(
        self,
        model: Model,
        bits: str,
        method: str = "best",
        *,
        images: bool = True,
        options: tuple[str, ...] = (),
        named: str = "",
    ) -> "Exported":
        """The model's file at one width.

        Args:
            model: what to export.
            bits: ``W/A``.
            method: ``best`` or ``paper``.
            images: whether it is calibrated on images; else on synthetic ones.
            options: of the command besides, always the same for a model and `named`.
            named: what tells the file from the one without these options.
        """
        name = f"{model.key}-{bits.replace('/', '-')}-{method}" + ("" if images else "-synthetic") + named

        calib = ("--calib", model.calib) if images else ()
        given = (model.checkpoint, *calib, *options, "--bits", bits, "--method", method)
        return self.exported_to(self.folder / f"{name}.onnx", given)

    def exported_to(self, path: Path, given: tuple[object, ...]) -> "Exported":
        """A file of the folder, exported once, whichever row asks first.

        Args:
            path: the file.
            given: what and how, as `mptq-export` takes it.
        """

        def make(out: Path) -> Facts:
            report = out.with_suffix(".export.json")
            quiet = ("-o", out, "--force", "-q", "--json", report)
            resumed = ("--resume",) if out.with_suffix(".learned").exists() else ()
            ran = self.commands.console(
                "export", *given, *quiet, *resumed, *self.device_option, log=f"{out.stem}.export"
            )
            summary = json.loads(report.read_text(encoding="utf-8"))
            return {"seconds": None if resumed else ran.seconds, "peak_mb": ran.peak_mb, **facts_of(summary)}

        return Exported(path, self.once(path.stem, make))


@dataclass(frozen=True)
class Exported:
    """A file and what is known of it.

    Attributes:
        path: the ONNX file.
        facts: seconds (None where it was interrupted) and peak_mb of the export, where it was one of its own, and
            `facts_of` its summary.
    """

    path: Path
    facts: Facts


def facts_of(summary: Facts) -> Facts:
    """What is kept of the summary that ``mptq-export --json`` writes of a file.

    Returns:
        bytes of the file and of the float32 weights, load_ms and min_onnxruntime; `values` that the export compared
        with `kernels_ref`, those of them `differing`, and `float_matmuls`.
    """
    return {
        "bytes": summary["onnx_bytes"],
        "float32_bytes": summary["float32_bytes"],
        "load_ms": summary["load_ms"],
        "min_onnxruntime": summary["min_onnxruntime"],
        "values": summary["compared_values"],
        "differing": summary["differing_values"],
        "float_matmuls": summary["float_matmuls"],
    }
