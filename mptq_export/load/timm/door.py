"""`timm:NAME`: pretrained weights of timm's hub."""

from pathlib import Path

from mptq_export.load.door import ENDING, Door

HUB = "timm:"
"""What names of pretrained weights begin with."""

DOOR = Door(
    lambda asked: asked.name.startswith(HUB),
    output=lambda name: Path(name.removeprefix(HUB).replace("/", "_") + ENDING),
)
