"""Validation images with their labels."""

from pathlib import Path

from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import Labels
from mptq_export.load.loaded import LoadedModel


def labelled(data: Path, loaded: LoadedModel, limit: int | None) -> tuple[ImageFolder, Labels]:
    """The images of a folder of class folders, prepared as the model wants them, and the class of each.

    Args:
        data: the folder.
        loaded: the model, a classifier.
        limit: at most so many images, evenly spread; None for all.
    """
    classes = loaded.model.num_classes
    assert isinstance(classes, int)
    folder = ImageFolder(data, loaded.preprocessing, limit=limit, labels=True, logits=classes)
    assert folder.labels is not None
    return folder, folder.labels
