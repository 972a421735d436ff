"""From what the user names to a float model with all that is known of it.

What a loaded model *is* stands in `loaded.py`, for all that come after; how it is loaded is one file a way, in a room
a library, and one line of the table in `loaders.py`. `request.py` is what the user says, `run.py` the verb, `inputs.py`
and `features.py` say what an input and an output are, `file/` reads checkpoint files without running what is in them,
`timm/` knows timm.

Another library is a room beside `timm/` with a `loader.Loader`: `recognises(source)` says whether a source is one of
its own, `load(source)` gives the `LoadedModel`, with the library's `feature_maker` where it has one. Its place in
`loaders.LOADERS` says whom it goes before, `Source` reads a checkpoint once, whoever asks for it, and no other file
knows it (`tests/load/test_loaders.py` adds one). Sources that are no checkpoint files, such as folders or `NAME:`, have
a `door.Door` besides, in the table of `doors.py`: what can be refused of them before anything heavy is imported.
"""
