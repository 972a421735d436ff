"""A folder as a fresh clone of this working tree is, with what a reader brings along."""

import shutil
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
#: What pages call a checkpoint and images of the reader's own, and what stands for them.
READERS = {"model.pt": "examples/digits/digits_vit.pt", "images": "examples/digits/calib", "val": "examples/digits/val"}


def fresh_copy(folder: Path) -> Path:
    """Copy all files that git tracks, as they are now, and the reader's own.

    Args:
        folder: that does not exist.

    Returns:
        The same folder.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name)
    for name, what in READERS.items():
        copy = shutil.copytree if (REPO / what).is_dir() else shutil.copy2
        copy(REPO / what, folder / name)
    return folder
