"""Write kernels_ref/coverage.json: which test of the reference runs which of its kernels.

    python -m tools.reference_tests

Runs the tests of `tests/kernels_ref` and notes the kernels of every interpreter that a test ran to its end. The tests
themselves hold the list to what they run, so a change of either is seen.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mptq_export.support.json_files import write_json

REPO = Path(__file__).resolve().parents[1]
LIST = REPO / "kernels_ref" / "coverage.json"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.jsonl"
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/kernels_ref"],
            cwd=REPO,
            env={**os.environ, "MPTQ_RECORD_COVERAGE": str(record)},
            check=False,
        )
        if ended.returncode:
            return ended.returncode
        files = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    tests = {
        test: {"cases": cases, "kernels": dict(sorted(each["kernels"][test].items()))}
        for each in files
        for test, cases in each["cases"].items()
    }
    write_json(LIST, {"tests": dict(sorted(tests.items()))})
    print(f"wrote {LIST}: {len(tests)} tests, {len({k for t in tests.values() for k in t['kernels']})} kernels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
