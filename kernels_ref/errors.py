"""The one error that the interpreter raises for its user's problems."""


class InterpreterError(ValueError):
    """One line that says what is wrong with a model or a feed, and where."""

    def __init__(self, message: str) -> None:
        # A name that is quoted from a damaged file may hold line breaks.
        super().__init__(" ".join(message.split()))
