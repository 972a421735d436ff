"""The one error that the interpreter raises for its user's problems."""


class InterpreterError(ValueError):
    """One line that says what is wrong with a model or a feed, and where."""
