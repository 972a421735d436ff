"""A masked onnxruntime runs the kernels of the lesser CPU: they show by their int16 sums."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.crosscheck.cpu import cpu_features
from tools.crosscheck.mask_cpu import LEVELS, MaskError, cpuid_offsets, environment

MASK = [sys.executable, "-m", "tools.crosscheck.mask_cpu"]
REPO = Path(__file__).resolve().parents[2]
CONTROL = """
import json
import numpy as np
from tools.crosscheck.adversarial import check
from tools.crosscheck.cpu import cpu_features
from tools.crosscheck.forms import FORMS, Size
form = next(form for form in FORMS if form.name == "control: Gemm u8 x s8, full range")
row = check(form, "float32", [Size(17, 197, 64)], 1, np.random.default_rng(0))
print(json.dumps([row["differing"], cpu_features()]))
"""

needs_tools = pytest.mark.skipif(
    "avx2" not in cpu_features() or not all(map(shutil.which, ("cc", "objdump"))),
    reason="needs an x86-64 CPU with AVX2, cc and objdump",
)


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize(("level", "saturates"), [("avx", False), ("avx2", True)])
def test_the_control_saturates_on_avx2_and_not_below(level: str, saturates: bool):
    command = [*MASK, level, "--", sys.executable, "-c", CONTROL]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    differing, features = json.loads(done.stdout)
    assert (differing > 0) == saturates
    assert features == [name for name in LEVELS[: LEVELS.index(level) + 1] if name in cpu_features()]


@needs_tools
def test_two_bytes_inside_another_instruction_are_no_cpuid(tmp_path: Path):
    source = tmp_path / "code.c"
    source.write_text(
        "unsigned constant(void) { return 0xa20f; }\n"
        "unsigned asked(void) { unsigned a = 0, b, c, d;"
        ' __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); return a; }\n'
    )
    library = tmp_path / "code.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    assert library.read_bytes().count(b"\x0f\xa2") >= 2
    (offset,) = cpuid_offsets(library)
    assert library.read_bytes()[offset : offset + 2] == b"\x0f\xa2"


def test_another_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MaskError, match="only Linux on x86-64"):
        environment("avx2", tmp_path)
