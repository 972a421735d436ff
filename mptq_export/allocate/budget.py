"""What a mixed-precision export may cost."""

import re
from dataclasses import dataclass

from mptq_export.errors import MptqError

_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True)
class Budget:
    """One budget.

    Attributes:
        text: as the user wrote it.
        mean_bits: largest mean width of weights and of activations; None for a size.
        file_bytes: largest size of the ONNX file; None for a mean width.
    """

    text: str
    mean_bits: float | None = None
    file_bytes: float | None = None

    @property
    def bits(self) -> float:
        """The mean width, 0 for a size."""
        return self.mean_bits or 0.0

    @property
    def size(self) -> float:
        """What orders budgets of one kind: the widest is met first."""
        return self.bits or self.file_bytes or 0.0

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read `4.5` (mean bits) or `12MB` (file size).

        Raises:
            MptqError: it is neither.
        """
        text = text.strip()
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(kB|MB|GB)?", text)
        if match is None or not float(match[1]) > 0:
            raise MptqError(f"--mixed {text} is neither a mean bit-width such as 4.5 nor a file size such as 12MB")
        if match[2]:
            return Budget(text, file_bytes=float(match[1]) * _UNITS[match[2]])
        return Budget(text, mean_bits=float(match[1]))
