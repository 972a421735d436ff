"""The one exception that reaches a user, and the one warning."""

_LONGEST = 2000


def one_line(message: str) -> str:
    """A text that may quote a stranger as one line that can neither steer a terminal nor fill it."""
    text = " ".join(line.strip() for line in message.splitlines())
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


class MptqError(Exception):
    """A problem that the user can act on.

    The message is one line that says what happened, where (the file, layer or option) and what to do next.
    The command line prints it as ``error: ...`` and exits with status 2; it never shows a traceback for it.

    Names that a message quotes from a stranger's file can neither steer a terminal nor fill it: what cannot be printed
    is escaped, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MptqWarning(UserWarning):
    """What the user of the Python API must know before a result is used; the command lines print it themselves."""
