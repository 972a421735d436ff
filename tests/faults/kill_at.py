"""Run mptq-export and end it with SIGKILL just before it opens, renames or removes a file of a folder the Nth time.

Arguments: N FOLDER ARGUMENT...

With N = 0 it runs to the end; the number of such moments is then the last line of stdout. In place of N, the name of a
file: the first such moment at which it is there.
"""

import os
import signal
import sys

EVENTS = ("os.rename", "os.remove", "os.mkdir")


def main() -> None:
    moment, folder, sys.argv[1:] = sys.argv[1], os.path.realpath(sys.argv[2]), sys.argv[3:]
    seen = 0

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in EVENTS) or not os.path.realpath(str(args[0])).startswith(folder + os.sep):
            return
        seen += 1
        if moment == str(seen) or (not moment.isdigit() and os.path.exists(os.path.join(folder, moment))):
            os.kill(os.getpid(), signal.SIGKILL)

    from mptq_export.cli.export import main as export

    sys.addaudithook(count)
    try:
        export()
    finally:
        sys.stdout.write(f"{seen}\n")
