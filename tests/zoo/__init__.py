"""Small random models of other libraries: each is a module that gives one tensor."""

from zoo import of_torch, of_torchvision, of_transformers, of_vit_pytorch
from zoo.common import CLASSES, Make, randomised

__all__ = ["CLASSES", "LIBRARIES", "Make", "randomised"]

LIBRARIES: dict[str, dict[str, tuple[int, Make]]] = {
    "torchvision": of_torchvision.models(),
    "transformers": of_transformers.models(),
    "vit_pytorch": of_vit_pytorch.models(),
    "torch": of_torch.models(),
}
"""By library and name: the side of the image in pixels, and what makes the model."""
