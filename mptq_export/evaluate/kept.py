"""Results of a slow runtime on disk as they come, so that an interrupted evaluation goes on where it was.

A file of JSON lines: first what ran, then for every image a hash of its pixels and the outputs, little-endian float32
in base64. Pixels are the key because names of images, their order and their number may change in between.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.outputs import PredictOutputs, Values
from mptq_export.runtime.pixels import Pixels
from mptq_export.support.appended_lines import AppendedLines
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_text

_FLOAT = np.dtype("<f4")


class KeptOutputs(AppendedLines):
    """Outputs of images that one file in one runtime has given."""

    refusal: ClassVar[str] = "cannot keep results in {name}: {reason}; free space, and go on with --resume"

    def __init__(self, file: IO[str], known: dict[str, Values]) -> None:
        super().__init__(file)
        self._known = known

    @staticmethod
    def open(path: Path, ran: dict[str, str]) -> "KeptOutputs":
        """Start a file, or go on with it where it is there.

        Args:
            path: the file.
            ran: what computes: the model's hash, the runtime, its version.

        Raises:
            MptqError: it cannot be used, or is of something else.
        """
        known: dict[str, Values] = {}

        def take(entry: dict[str, Any]) -> None:
            known[entry["pixels"]] = [_decoded(value) for value in entry["outputs"]]

        return KeptOutputs(open_kept(path, ran, take), known)

    def around(self, predict: PredictOutputs) -> PredictOutputs:
        """The same function, which computes an image once: known ones are read, new ones are written at once."""

        def kept(pixels: Pixels) -> Values:
            rows = [self._row(image[None], predict) for image in pixels]
            return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

        return kept

    def _row(self, image: Pixels, predict: PredictOutputs) -> Values:
        key = hashlib.sha256(image.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = [values.astype(np.float32) for values in predict(image)]
            self.append({"pixels": key, "outputs": [_encoded(values) for values in self._known[key]]})
        return self._known[key]


def open_kept(path: Path, ran: dict[str, str], take: Callable[[dict[str, Any]], None]) -> IO[str]:
    """Start a file of results, or go on with it where it is there.

    Args:
        path: the file.
        ran: what computes them.
        take: gets every result that it holds; raises KeyError, TypeError or ValueError where it is none.

    Returns:
        The file, open at its end.

    Raises:
        MptqError: it cannot be used, or is of something else.
    """
    lines = [json.dumps({"ran": ran})]
    try:
        if path.exists():
            first, *rest = path.read_text(encoding="utf-8").splitlines() or [""]
            _check(path, first, ran)
            for line in rest:
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # the line that an interruption cut
                take(entry)
                lines.append(line)
        write_text(path, "".join(f"{line}\n" for line in lines))
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise MptqError(f"cannot keep results in {path}: {error.strerror or error}; name another file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MptqError(f"--resume {path} holds no results of an evaluation; name another file") from error


def _check(path: Path, first: str, ran: dict[str, str]) -> None:
    """Refuse the results of something else.

    Raises:
        MptqError: they are.
        ValueError: the line says nothing.
    """
    held = json.loads(first)["ran"]
    other = next((name for name, value in ran.items() if held.get(name) != value), None)
    if other is not None:
        raise MptqError(
            f"--resume {path} holds results of another {other} ({held.get(other)}, not {ran[other]}); name another file"
        )


def _encoded(values: NDArray[np.float32]) -> dict[str, Any]:
    held = np.ascontiguousarray(values, _FLOAT)
    return {"shape": list(held.shape), "float32": base64.b64encode(held.tobytes()).decode("ascii")}


def _decoded(entry: dict[str, Any]) -> NDArray[np.float32]:
    values = np.frombuffer(base64.b64decode(entry["float32"]), _FLOAT)
    return values.reshape(entry["shape"]).astype(np.float32)
