"""What the CPU can multiply integers with: it decides which of onnxruntime's kernels run."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

MASK_VARIABLE = "MPTQ_CPU_MASK"
"""Environment variable with the flag of the highest instruction set that onnxruntime sees; only
``tools/crosscheck/mask_cpu.py`` sets it, which makes it true."""

# Flag in /proc/cpuinfo and the name that people use, from the slowest to the fastest.
_X86 = {
    "avx": "AVX",
    "avx2": "AVX2",
    "avx512bw": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX int8",
}
_ARM = {"asimd": "NEON", "asimddp": "NEON dotprod", "i8mm": "NEON i8mm", "sve": "SVE"}


@dataclass(frozen=True)
class Cpu:
    """The CPU as far as the system tells.

    Attributes:
        name: the vendor's name; ``unknown`` where the system does not say.
        machine: the architecture, such as ``x86_64``.
        instruction_sets: what it has for integer matmuls; empty where that is unknown.
    """

    name: str
    machine: str
    instruction_sets: tuple[str, ...]

    @property
    def description(self) -> str:
        """One line for people."""
        return f"{self.name} ({self.machine}; {', '.join(self.instruction_sets) or 'instruction sets unknown'})"


def detect_cpu(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Cpu:
    """Read the CPU's name and instruction sets.

    Args:
        cpuinfo: Linux's description of the CPUs; elsewhere there is none, and the answer is unknown.
        machine: the architecture; this machine's when left out.
    """
    machine = machine or platform.machine() or "unknown"
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Cpu("unknown", machine, ())
    fields: dict[str, str] = {}
    for key, found, value in (line.partition(":") for line in lines):
        if found:
            fields.setdefault(key.strip().lower(), value.strip())
    flags = set(f"{fields.get('flags', '')} {fields.get('features', '')}".split())
    name = fields.get("model name") or "unknown"
    mask = os.environ.get(MASK_VARIABLE)
    if mask is not None:
        known = list(_X86)
        flags -= set(known[known.index(mask) + 1 :] if mask in known else known)
        name += f", masked to {mask}"
    return Cpu(name, machine, tuple(text for flag, text in (_X86 | _ARM).items() if flag in flags))
