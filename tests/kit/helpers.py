"""What the kit's tests share."""

import subprocess
import sys
from pathlib import Path

from tools.crosscheck.page import altered

from .conftest import REPO

NODE_MODULES = REPO / "tools" / "crosscheck" / "web" / "node_modules"
#: Opens a kit's page.
PAGE = (sys.executable, "-m", "tools.crosscheck.page")
#: A weight of block 1 and the probe right behind it.
WEIGHTS = {
    "blocks.1.attn.qkv.weight": "blocks.1.attn.qkv.codes",
    "blocks.1.mlp.fc1.weight": "blocks.1.mlp.fc1.codes",
    "blocks.1.mlp.fc2.weight": "blocks.1.add_2.",
}


def alter_weight(model: bytes, tensor: str) -> bytes:
    """The model with one code changed, as the page's script does it."""
    return altered(model, tensor)


def call(*command: object, cwd: Path = Path(sys.prefix)) -> subprocess.CompletedProcess[str]:
    """Run a program in another folder than the kit's."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


def first_named(output: str) -> set[str]:
    """The tensors that a runner's output names as first diverging."""
    marked = [line.split("first diverging tensor: ")[1] for line in output.splitlines() if "first diverging" in line]
    return {text.split(" (")[0] for text in marked}
