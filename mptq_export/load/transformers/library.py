"""The optional library: imported when a folder needs it, offline and quiet."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mptq_export.support.errors import MptqError

EXTRA = "pip install 'mptq-export[transformers]'"
OLDEST = (5, 5)
"""The first version whose image processors say which backend they run."""


def check_installed(path: object) -> None:
    """Refuse a folder that needs transformers where it is not there; nothing is imported.

    Args:
        path: the folder, for the message.

    Raises:
        MptqError: it is not installed, or too old.
    """
    try:
        installed = version("transformers")
    except PackageNotFoundError as error:
        raise MptqError(
            f"{path} is a folder of Hugging Face transformers, which is not installed here: {EXTRA}"
        ) from error
    if tuple(int(part) for part in installed.split(".")[:2] if part.isdigit()) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise MptqError(f"transformers {installed} is too old for {path}, which needs {oldest} or newer: {EXTRA} -U")


@contextmanager
def offline_library() -> Iterator[Any]:
    """transformers, which asks no network, reads no code of a folder, and writes nothing to the terminal meanwhile."""
    hub: Any = importlib.import_module("huggingface_hub.constants")
    library: Any = importlib.import_module("transformers")
    logging = library.utils.logging
    was_offline, verbosity = hub.HF_HUB_OFFLINE, logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    hub.HF_HUB_OFFLINE = True
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield library
    finally:
        hub.HF_HUB_OFFLINE = was_offline
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """What a library's exception says, short."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__
