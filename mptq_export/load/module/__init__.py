"""A user's own module, which no library knows: given in Python, made by a function that is named, or a saved program.

Nothing but its forward says what it gives (`run_once.py`, `named.py`, `kinds.py`), and nothing but the user what an
image has to be (`inputs.py`). `own.py` makes the `LoadedModel` of all of these.
"""
