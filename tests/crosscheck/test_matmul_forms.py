"""Every matmul form that the exporter emits, on adversarial codes, against integer arithmetic."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.crosscheck.adversarial import check
from tools.crosscheck.forms import FORMS, Form, Size, outputs_of, pair_safe_patterns, patterns

REPO = Path(__file__).resolve().parents[2]
EMULATE = REPO / "tools" / "crosscheck" / "emulate.sh"
SIZES = [Size(1, 64, 12), Size(3, 17, 5), Size(17, 9, 40), Size(17, 25, 16), Size(17, 197, 64), Size(64, 768, 17)]
SAFE = [pytest.param(f, output, id=f"{f.name}, {output}") for f in FORMS if f.safe for output in outputs_of(f)]


@pytest.mark.parametrize(("form", "output"), SAFE)
def test_a_safe_form_is_one_integer_kernel_and_exact(form: Form, output: str) -> None:
    row = check(form, output, SIZES, 2, np.random.default_rng(0))
    assert row["fused"], row["kernels"]
    assert row["values"] > 2_000
    assert row["differing"] == 0


@pytest.mark.parametrize("k", [2, 3, 17, 64])
def test_pair_safe_patterns_keep_and_reach_their_bound(k: int) -> None:
    weights = pair_safe_patterns(k, -127, np.random.default_rng(0))
    padded = np.abs(np.pad(weights, ((0, 0), (0, k % 2))))
    sums = padded[:, 0::2] + padded[:, 1::2]
    assert sums.max() == 128
    assert weights.min() == -127
    assert weights.max() == 127


def test_patterns_stay_in_range_and_reach_both_ends() -> None:
    codes = patterns(17, -64, 63, np.random.default_rng(0))
    assert codes.min() == -64
    assert codes.max() == 63
    assert (codes == 63).all(axis=1).any()
    assert (codes == -64).all(axis=1).any()


@pytest.mark.slow
def test_safe_forms_are_exact_and_the_control_saturates_on_an_avx2_cpu(tmp_path: Path) -> None:
    if not shutil.which("qemu-x86_64-static"):
        pytest.skip("qemu-x86_64-static is not installed")
    script = (
        "import json, numpy as np, adversarial as a; from forms import FORMS, Size, outputs_of as outputs;"
        "from cpu import cpu_features;"
        "rows = [a.check(f, o, [Size(17, 197, 64)], 1, np.random.default_rng(0)) for f in FORMS for o in outputs(f)];"
        "print(json.dumps([cpu_features(), rows]))"
    )
    path = tmp_path / "small.py"
    path.write_text(script)
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPO)}
    done = subprocess.run([EMULATE, "Haswell", path], capture_output=True, text=True, env=env, check=True)
    features, rows = json.loads(done.stdout)
    assert "avx2" in features
    assert "avx512_vnni" not in features
    assert [row["form"] for row in rows if row["safe"] and row["differing"]] == []
    assert all(row["differing"] for row in rows if row["form"] == "control: Gemm u8 x s8, full range")
