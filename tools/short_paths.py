"""Messages without the folders of the machine that they came from."""

import re
import tempfile
from pathlib import Path

_PACKAGES = re.compile(r"[^\s('\"]*/(?:site|dist)-packages/")


def short_paths(text: str) -> str:
    """The same with names of files from their package, their working folder or the temporary folder on."""
    found = _PACKAGES.sub("", text)
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        found = found.replace(f"{folder}/", "")
    return found
