"""`package.module:name`: the user's code is imported and called; what it gives is taken as it is.

This runs that code, as `python -m package.module` would: whoever names it asks for that.
"""

import difflib
import importlib
import inspect
from typing import Any

import torch
from torch import nn

from mptq_export.capture.user_source import of_traceback
from mptq_export.load.detection.loader import load_module
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.module.door import import_from_here, names_code
from mptq_export.load.module.own import Own
from mptq_export.load.module.program import load_exported
from mptq_export.support.errors import MptqError


def load_made(source: Source) -> LoadedModel:
    """Import, call, and take the module.

    Raises:
        MptqError: the code cannot be imported, has no such name, fails, or gives no module; or the module cannot be
            exported.
    """
    asked, name = source.asked, source.asked.name
    found = _found(name)
    made = found if isinstance(found, nn.Module | torch.export.ExportedProgram) else _made(name, found)
    if isinstance(made, torch.export.ExportedProgram):
        return load_exported(made, asked, f"made by {name}")
    if not isinstance(made, nn.Module):
        raise MptqError(f"{name} gives a {type(made).__name__}, no torch.nn.Module; let it return the model")
    return load_module(Own(made, f"made by {name}", weights=f"those that {name} gives"), asked)


def _found(name: str) -> Any:
    """What a name stands for."""
    path, _, attributes = name.partition(":")
    import_from_here()
    try:
        found: Any = importlib.import_module(path)
    except (Exception, SystemExit) as error:
        raise _failed(name, f"{path} cannot be imported", error) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = difflib.get_close_matches(attribute, dir(found), 1)
            raise MptqError(f"{name}: there is no {attribute}{f', but {near[0]}' if near else ''}; check the name")
        found = getattr(found, attribute)
    return found


def _made(name: str, maker: Any) -> Any:
    """What a function without arguments, or a class, gives."""
    if not callable(maker):
        raise MptqError(
            f"{name} is a {type(maker).__name__}; name a function that returns the model, or the model itself"
        )
    needed = _needed(maker)
    if needed:
        raise MptqError(f"{name} needs {', '.join(needed)}; name a function without arguments that returns the model")
    try:
        return maker()
    except (Exception, SystemExit) as error:
        raise _failed(name, "it failed", error) from error


def _needed(maker: Any) -> list[str]:
    """Arguments without a default."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _failed(name: str, what: str, error: BaseException) -> MptqError:
    """One line for what the user's code raised, with its file and line."""
    line = of_traceback(error.__traceback__)
    at = f" at {line}" if line else ""
    if isinstance(error, SyntaxError) and error.filename:
        at = f" at {error.filename}:{error.lineno}"
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return MptqError(f"{name}: {what}{at}: {type(error).__name__}: {reason}; mend it there")


LOADER = Loader(lambda source: names_code(source.asked.name), load_made)
