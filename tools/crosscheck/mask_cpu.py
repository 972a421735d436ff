"""Run a command with an onnxruntime and an OpenVINO that take this CPU for a lesser one, at full speed.

    python -m tools.crosscheck.mask_cpu avx2 -- python -m tools.bench.peers --random deit_small_patch16_224
    python -m tools.crosscheck.mask_cpu avx2 -- python -m tools.crosscheck.adversarial
    python -m tools.crosscheck.mask_cpu avx512_vnni -- mptq-bench FILE --runtime openvino

The first argument is the highest instruction set that is left; `avx512_vnni` is a CPU without bfloat16. Both runtimes
ask CPUID when they are loaded and choose their kernels by the answer. Here they are loaded from copies in a temporary
folder, in which each CPUID instruction is a trap (`int3; nop`, as many bytes), and `mask_cpu.c`, loaded before them,
answers the trap with what the CPU says less the sets above. What is installed stays as it is. MPTQ_CPU_MASK, set for
the command, lets the tables of `mptq-bench` and the tools of this repository say so. Linux on x86-64 only; needs a C
compiler (`cc`) and `objdump`.
"""

import argparse
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LEVELS = ("sse4_1", "avx", "avx2", "avx512bw", "avx512_vnni")
"""Names of instruction sets, as in cpu.py and /proc/cpuinfo, from the lowest; mask_cpu.c has the same."""

MASKED = {
    "onnxruntime": ("capi/*.so*",),
    "openvino": ("libs/libopenvino.so*", "libs/libopenvino_intel_cpu_plugin.so"),
}
"""Packages, the first needed, and their libraries that ask what the CPU has."""

_SOURCE = Path(__file__).with_suffix(".c")
_CPUID, _TRAP = b"\x0f\xa2", b"\xcc\x90"
_SECTION = re.compile(r"^ *\d+ \S+ +(\w+) +(\w+) +\w+ +(\w+) +\S+\n.*CODE", re.MULTILINE)
# Bytes read before: code read from the middle of an instruction falls into step after a few more. And after: the
# longest instruction, as objdump reads one that is cut off byte by byte.
_WINDOW, _LONGEST = 4096, 15


class MaskError(Exception):
    """Why nothing can be masked here, as one sentence."""


def cpuid_offsets(library: Path) -> list[int]:
    """File offsets of the CPUID instructions of a shared library.

    Its two bytes also occur inside other instructions: only where a disassembly of the code before them arrives at
    them as an instruction do they count.
    """
    code = library.read_bytes()
    headers = subprocess.run(["objdump", "-h", library], capture_output=True, text=True, check=True).stdout
    found = []
    for size, address, offset in (map(lambda text: int(text, 16), row) for row in _SECTION.findall(headers)):
        for match in re.finditer(re.escape(_CPUID), code[offset : offset + size]):
            at = address + match.start()
            window = [f"--start-address={max(address, at - _WINDOW)}", f"--stop-address={at + _LONGEST}"]
            command = ["objdump", "-d", "--no-show-raw-insn", *window, str(library)]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if re.search(rf"^ *{at:x}:\s+cpuid *$", text, re.MULTILINE):
                found.append(offset + match.start())
    return found


def masked_copy(package: Path, site: Path, libraries: Sequence[str]) -> int:
    """Copy an installed package, each CPUID instruction a trap.

    Args:
        package: its folder.
        site: the folder to copy it into; goes first in the import path.
        libraries: patterns of those that are changed.

    Returns:
        How many instructions were replaced.
    """
    copy = site / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    replaced = 0
    for library in (found for pattern in libraries for found in copy.glob(pattern)):
        offsets = cpuid_offsets(library)
        with library.open("r+b") as file:
            for offset in offsets:
                file.seek(offset)
                file.write(_TRAP)
        replaced += len(offsets)
    return replaced


def environment(level: str, folder: Path) -> dict[str, str]:
    """Environment variables under which Python loads the masked runtimes.

    Args:
        level: one of `LEVELS`.
        folder: where its files go; they must stay while it is in use.

    Raises:
        MaskError: this system or its tools cannot do it.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise MaskError(f"only Linux on x86-64 can be masked, not {platform.system()} on {platform.machine()}")
    for tool, where in (("cc", "gcc"), ("objdump", "binutils")):
        if shutil.which(tool) is None:
            raise MaskError(f"{tool} is not installed; on Debian: apt-get install {where}")
    for name, libraries in MASKED.items():
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            if name == "openvino":
                continue
            raise MaskError(f"{name} is not installed for this Python")
        if masked_copy(Path(spec.origin).parent, folder, libraries) == 0:
            raise MaskError(f"no CPUID instruction is in {Path(spec.origin).parent}; this build asks in another way")
    trap = folder / "mask_cpu.so"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", trap, _SOURCE], check=True)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(folder), *([inherited] if inherited else [])])
    return {**os.environ, "MPTQ_CPU_MASK": level, "LD_PRELOAD": str(trap), "PYTHONPATH": path}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("level", choices=LEVELS)
    parser.add_argument("command", nargs="+", help="a program and its arguments")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            status = subprocess.run(args.command, env=environment(args.level, Path(folder)), check=False).returncode
        except (MaskError, OSError, subprocess.CalledProcessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
