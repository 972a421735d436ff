"""Nothing that C code prints while it is silenced comes out, then or later; everything else does."""

import subprocess
import sys

SCRIPT = """
import ctypes, os
from mptq_export.support.silence import silent_stdout
libc = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
print("before")
libc.printf(b"early\\n")
with silent_stdout():
    libc.printf(b"noise\\n")
    os.write(1, b"more noise\\n")
print("after")
libc.printf(b"late\\n")
"""


def test_only_what_is_printed_inside_is_lost():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == ["after", "before", "early", "late"]


def test_a_process_without_a_stdout():
    script = "import os; os.close(1)\nfrom mptq_export.support.silence import silent_stdout\n"
    script += "with silent_stdout():\n    pass"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_error_passes_and_stdout_is_back():
    script = "from mptq_export.support.silence import silent_stdout\ntry:\n    with silent_stdout():\n        1 / 0\n"
    script += "except ZeroDivisionError:\n    print('back')"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "back\n"
