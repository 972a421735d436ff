"""What the kit's tests share."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from .conftest import REPO

CROSSCHECK = REPO / "tools" / "crosscheck"
NODE_MODULES = CROSSCHECK / "web" / "node_modules"
#: A weight of block 1 and the probe right behind it.
WEIGHTS = {
    "blocks.1.attn.qkv.weight": "blocks.1.attn.qkv.codes",
    "blocks.1.mlp.fc1.weight": "blocks.1.mlp.fc1.codes",
    "blocks.1.mlp.fc2.weight": "blocks.1.add_2.",
}


def alter_weight(model: bytes, tensor: str) -> bytes:
    """The model with one code changed, as the page's script does it."""
    return crosscheck_module("page").altered(model, tensor)  # type: ignore[no-any-return]


def crosscheck_module(name: str) -> ModuleType:
    """A script of tools/crosscheck, imported with its folder on the path."""
    sys.path.insert(0, str(CROSSCHECK))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(CROSSCHECK))


def call(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a program in another folder than the kit's."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, cwd=Path(sys.prefix), check=False, timeout=300)


def first_named(output: str) -> set[str]:
    """The tensors that a runner's output names as first diverging."""
    marked = [line.split("first diverging tensor: ")[1] for line in output.splitlines() if "first diverging" in line]
    return {text.split(" (")[0] for text in marked}
