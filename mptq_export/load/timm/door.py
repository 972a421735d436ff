"""`timm:NAME`: pretrained weights of timm's hub."""

from mptq_export.load.door import Door

HUB = "timm:"
"""What names of pretrained weights begin with."""

DOOR = Door(lambda asked: asked.name.startswith(HUB))
