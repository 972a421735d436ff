"""Work in a process of its own, which may die or hang."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Given = TypeVar("Given")

#: Seconds that a process has to end by itself after it gave its result.
_END = 10


class LostError(Exception):
    """A process gave no result: it died, or the time was over."""


def in_process(
    job: Callable[..., Given], *arguments: Any, timeout: float, preload: Sequence[str] = (__name__,)
) -> Given:
    """What a function gives, called in a process that knows nothing of this one.

    Args:
        job: a function of a module; what it raises, it has to turn into a result itself.
        arguments: of it; all of them, and the result, are pickled.
        timeout: seconds.
        preload: modules that all such processes find imported.

    Raises:
        LostError: there is no result.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, job, arguments))
    process.start()
    theirs.close()
    try:
        if not ours.poll(timeout):
            process.kill()
            raise LostError(f"no result after {timeout} s")
        given: Given = ours.recv()
        return given
    except EOFError as error:
        raise LostError("the process died") from error
    finally:
        process.join(_END)
        process.kill()
        process.join()


def _send(connection: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    connection.send(job(*arguments))
