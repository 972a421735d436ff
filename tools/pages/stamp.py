"""What a page says of the versions that printed what it shows."""

import platform
import re
from importlib.metadata import version

from tools.pages.blocks import PageError

_STAMP = re.compile(r"(<!-- printed by -->).*?(<!-- end -->)", re.DOTALL)
_MACHINES = {"x86_64": "x86-64", "AMD64": "x86-64", "aarch64": "arm64"}


def here() -> str:
    """This machine: versions without their last part, and the kind of CPU."""
    names = ("onnxruntime", "torch", "timm")
    versions = [f"{name} {'.'.join(version(name).split('.')[:2])}" for name in names]
    return ", ".join([*versions, _MACHINES.get(platform.machine(), platform.machine())])


def stamp_of(text: str) -> str:
    """What a page says.

    Raises:
        PageError: it does not say so once.
    """
    found = _STAMP.findall(text)
    if len(found) != 1:
        raise PageError("<!-- printed by -->VERSIONS<!-- end --> stands there not once")
    whole = _STAMP.search(text)
    assert whole is not None
    return whole[0].removeprefix(whole[1]).removesuffix(whole[2])


def stamped(text: str) -> str:
    """The page, with this machine in it."""
    return _STAMP.sub(lambda found: f"{found[1]}{here()}{found[2]}", text)
