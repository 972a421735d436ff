"""Is there always a sign of life, and is the time left what it turns out to be?

    python -m tools.bench.signs_of_life 'mptq-export MODEL --calib DIR --bits 4 -o OUT.onnx --force' [--json FILE]

The command runs twice: in a pseudo-terminal, where its screen is to change all the time, and with pipes, where it is to
print a line now and then (--only runs it once). What it writes is kept with its time. Printed are the longest
silence of each, and beside what the terminal showed as left after 25, 50 and 75 % of all the time what really was. A
command that fails is an error.
"""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from mptq_export.support.errors import MptqError
from tools.options import Parser

Way = Literal["terminal", "pipes"]

#: Seconds in the units in which a bar shows them.
_UNITS = {"s": 1, "min": 60, "h": 3600}

_LEFT = re.compile(r"about ((?:\d+ (?:h|min|s) ?)+)left")

#: Sequences that move a terminal's cursor or colour it: no change that anyone sees.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n")

_SHARES = (0.25, 0.5, 0.75)

#: Bytes of an answer of a pseudo-terminal.
_MOST = 1 << 16

_SIZE = {"COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"}


@dataclass(frozen=True)
class Seen:
    """What a command wrote.

    Attributes:
        chunks: seconds since it was started, and what appeared then.
        seconds: when it had ended.
    """

    chunks: tuple[tuple[float, str], ...]
    seconds: float

    @property
    def silence(self) -> tuple[float, float]:
        """The longest time without a change of what can be read, and when that began; beginning and end count."""
        times, shown = [0.0], ""
        for at, text in self.chunks:
            plain = _CONTROL.sub("", text)
            if plain.strip() and plain != shown:
                times.append(at)
                shown = plain
        times.append(self.seconds)
        gaps = [(later - earlier, earlier) for earlier, later in pairwise(times)]
        return max(gaps)

    def left(self, share: float) -> tuple[float | None, float]:
        """After a share of the time: the seconds that were shown as left, and those that were."""
        now, shown = share * self.seconds, None
        for at, text in self.chunks:
            if at > now:
                break
            for found in _LEFT.findall(_CONTROL.sub("", text)):
                shown = seconds_of(found) - (now - at)
        return shown, self.seconds - now


def seconds_of(text: str) -> float:
    """A duration as a bar shows it: `1 min 20 s`."""
    return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+) (h|min|s)", text)))


def watch(command: Sequence[str], way: Way) -> Seen:
    """Run a command and keep what it writes, with the time.

    Raises:
        MptqError: it ends with another status than 0.
    """
    if way == "terminal":
        ours, theirs = pty.openpty()
    else:
        ours, theirs = os.pipe()
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, **_SIZE})
    os.close(theirs)
    chunks = list(_read(ours, start))
    status, seconds = child.wait(), time.monotonic() - start
    os.close(ours)
    if status:
        said = "".join(text for _, text in chunks)
        raise MptqError(f"{command[0]} ended with status {status}: {said[-500:]}")
    return Seen(tuple(chunks), seconds)


def _read(end: int, start: float) -> Iterator[tuple[float, str]]:
    """What comes out of a pipe or a pseudo-terminal, until the other side is closed."""
    while True:
        try:
            text = os.read(end, _MOST)
        except OSError:  # how a pseudo-terminal ends on Linux
            return
        if not text:
            return
        yield time.monotonic() - start, text.decode(errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.signs_of_life", __doc__)
    parser.add_argument("--only", choices=get_args(Way), help="Run it once, there.")
    parser.add_argument("command", type=shlex.split, help="What is run, with all its arguments, as one word.")
    parser.add_json()
    return parser.run(run, arguments)


def run(*, command: list[str], only: Way | None, json_path: Path | None) -> None:
    found = {}
    for way in (only,) if only else get_args(Way):
        seen = watch(command, way)
        silence, since = seen.silence
        left = {f"{share:.0%}": seen.left(share) for share in _SHARES} if way == "terminal" else {}
        print(f"{way}: {seen.seconds:.1f} s; longest silence {silence:.1f} s, from {since:.1f} s on")
        for share, (shown, true) in left.items():
            told = "nothing shown" if shown is None else f"{shown:.0f} s shown, {shown / true - 1:+.0%}"
            print(f"  after {share}: {true:.0f} s were left, {told}")
        found[way] = {"seconds": seen.seconds, "silence": silence, "since": since, "left": left}
    if json_path is not None:
        json_path.write_text(json.dumps({"command": command, **found}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
