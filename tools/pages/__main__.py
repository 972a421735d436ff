"""The pages that are for following: their commands, run in a fresh copy of this working tree.

    python -m tools.pages check            (say where a page shows something else than its commands print)
    python -m tools.pages renew            (write into the pages what they print)

Both take the pages of `PAGES` in their order through one folder, in about four minutes; `--quick` leaves out the steps
that are marked as slow. What may vary between two runs is in `varying.py`: renewing leaves an output alone of which
nothing else differs.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.pages.blocks import PageError
from tools.pages.follow import PAGES, follow, renewed, stale
from tools.pages.fresh import fresh_copy

_DIFFERENT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("check", "renew"))
    parser.add_argument("--quick", action="store_true", help="leave out what takes a minute")
    asked = parser.parse_args(arguments)
    different = 0
    for page in PAGES:
        stale(page)  # what cannot be read is told before anything is run
    with tempfile.TemporaryDirectory() as folder:
        copy = fresh_copy(Path(folder) / "clone")
        for page in PAGES:
            different += _page(page, copy, slow=not asked.quick, renew=asked.what == "renew")
    return _DIFFERENT if different else 0


def _page(page: Path, folder: Path, *, slow: bool, renew: bool) -> int:
    """Follow a page; how many of its outputs were not, and are not, what is printed."""
    if not renew and stale(page):
        print(f"warning: {stale(page)}")
    printed, different = [], 0
    for each in follow(page, folder, slow=slow):
        printed.append(each)
        line = f"{page.name}:{each.step.block.line}"
        print(
            f"{line}: {'left out' if each.text is None else 'other lines' if each.differs() else 'as shown'}",
            flush=True,
        )
        if each.differs():
            different += 1
            print(each.differs())
    if renew:
        page.write_text(renewed(page.read_text(encoding="utf-8"), printed), encoding="utf-8")
        return 0
    return different


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PageError as problem:
        sys.exit(f"error: {problem}")
