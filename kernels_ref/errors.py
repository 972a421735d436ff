"""The one error that the interpreter raises for its user's problems."""

_LONGEST = 2000


class InterpreterError(ValueError):
    """One line that says what is wrong with a model or a feed, and where."""

    def __init__(self, message: str) -> None:
        # A name that is quoted from a damaged file may hold line breaks, or fill the screen.
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}")
