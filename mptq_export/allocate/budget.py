"""What a mixed-precision export may cost."""

import re
from dataclasses import dataclass

from mptq_export.errors import MptqError

#: What a budget can be of: its units, and how many of the budget's own unit (bytes, milliseconds) one is.
_UNITS = {
    "": ("bits", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "us": ("latency", 1e-3),
    "ms": ("latency", 1.0),
    "s": ("latency", 1e3),
}


@dataclass(frozen=True)
class Budget:
    """One budget.

    Attributes:
        text: as the user wrote it.
        kind: `bits` (mean width of weights, and of activations), `bytes` (of the ONNX file) or `latency` (of one image
            in onnxruntime on this machine, milliseconds).
        most: the largest value.
    """

    text: str
    kind: str
    most: float

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read `4.5` (mean bits), `12MB` (file size) or `15ms` (latency).

        Raises:
            MptqError: it is none of them.
        """
        text = text.strip()
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(kB|MB|GB|us|ms|s|)", text)
        if match is None or not float(match[1]) > 0:
            raise MptqError(
                f"--mixed {text} is neither a mean bit-width such as 4.5, nor a file size such as 12MB, nor a latency "
                "such as 15ms"
            )
        kind, size = _UNITS[match[2]]
        return Budget(text, kind, float(match[1]) * size)
