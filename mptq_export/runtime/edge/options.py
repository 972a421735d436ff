"""What a user may say about how another runtime is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["f32", "bf16", "f16"]
"""Types of floats, as OpenVINO names them."""

TimedRuntime = Literal["openvino"]
"""Runtimes that compute on this CPU as fast as they can: they can be timed, where simulators cannot."""


@dataclass(frozen=True)
class EdgeOptions:
    """Each belongs to the runtimes whose row in the table of `opening.py` takes it.

    Attributes:
        backend: library that computes: QNN's `backend_path`. None: the one that the package brings.
        soc: system on a chip that a simulator stands for, by its name. None: the simulator's own choice.
        python: interpreter of an environment of its own that holds the runtime. None: the environment variable says it.
        threads: number of threads. None: the runtime's own choice.
        precision: type of what has no codes (OpenVINO). None: bfloat16 where the CPU has it.
    """

    backend: Path | None = None
    soc: str | None = None
    python: Path | None = None
    threads: int | None = None
    precision: Precision | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """Names of those that were said."""
        return tuple(name for name, value in vars(self).items() if value is not None)
