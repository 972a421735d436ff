"""Coverage-guided fuzzing with atheris (`pip install atheris`): bytes that reach new lines of ours are tried further.

    python -m tools.fuzz_guided kernels_ref -max_total_time=300
    python -m tools.fuzz_guided recipe crash-1234abcd           (one finding again)

The first argument is a reader of tools/fuzz.py; all else goes to libFuzzer, which stops at the first traceback, crash,
hang or large allocation and keeps its input. Targets of several files get the one that damage starts with.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

REPO = Path(__file__).resolve().parent.parent
LIMITS = ("-timeout=60", "-rss_limit_mb=6000", "-max_len=200000")


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(REPO / "tests"))
    with atheris.instrument_imports(include=["kernels_ref", "mptq_export"]):
        from fuzz.targets import TARGETS, write_samples

    target, arguments = TARGETS[sys.argv[1]], sys.argv[2:]
    folder = Path(tempfile.mkdtemp())
    write_samples(folder)
    path = folder / min(target.files)
    corpus = Path(tempfile.mkdtemp())
    (corpus / path.name).write_bytes(path.read_bytes())

    def once(data: bytes) -> None:
        path.write_bytes(data)
        target.read(folder)

    starts = [] if any(Path(argument).is_file() for argument in arguments) else [str(corpus)]
    atheris.Setup([sys.argv[0], *LIMITS, *arguments, *starts], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
