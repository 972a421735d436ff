"""The one exception that reaches a user."""


class MptqError(Exception):
    """A problem that the user can act on.

    The message is one line that says what happened, where (the file, layer or option) and what to do next.
    The command line prints it as ``error: ...`` and exits with status 2; it never shows a traceback for it.
    """
