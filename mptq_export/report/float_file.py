"""The float model as a file that is timed beside a written one where nobody asked for a float file of his own."""

import warnings
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.emit.float_onnx import write_for_timing
from mptq_export.support.errors import MptqError
from mptq_export.support.silence import silent_stdout

#: Bytes of the largest weights that are written: torch's exporter holds them several times.
MOST_BYTES = 500e6


class FloatFile:
    """Written when it is first asked for, once for all files of a search; gone with this object."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Nothing is written yet.

        Args:
            model: the float model, on the CPU.
        """
        self._model = model
        self._folder: TemporaryDirectory[str] | None = None
        self._refused = ""

    def path(self, image: NDArray[np.float32]) -> Path:
        """Where it lies.

        Args:
            image: (1, channels, height, width).

        Raises:
            MptqError: there is none; the message says why, in the middle of a sentence.
        """
        if self._refused:
            raise MptqError(self._refused)
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="mptq-float-")
            try:
                self._write(image, self._in_folder)
            except MptqError as error:
                self._refused = str(error)
                raise
        return self._in_folder

    @property
    def _in_folder(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "float.onnx"

    def _write(self, image: NDArray[np.float32], path: Path) -> None:
        nbytes = sum(each.numel() * each.element_size() for each in self._model.parameters())
        if nbytes > MOST_BYTES:
            raise MptqError(f"its weights are {nbytes / 1e6:,.0f} MB: --float-onnx FILE writes it for this")
        with warnings.catch_warnings(), silent_stdout():
            warnings.simplefilter("ignore")
            # A copy, as some models keep what they computed last, and torch's exporter computes with stand-ins.
            write_for_timing(deepcopy(self._model), image, path)
