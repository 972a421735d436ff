"""Names and shapes of what each part of a detector takes and gives, by its description."""

from mptq_export.recipe.detector import Detector

Shape = tuple[int | None, ...]
"""Of one input or region, without the batch; None where the description does not say it."""


def input_shape(detector: Detector) -> Shape:
    """What a part takes: (channels, height, width) of an image or of a region."""
    if detector.regions is None or detector.part == "proposals":
        return (None, *detector.image)
    pooling = detector.regions.box_pooling if detector.part == "box" else detector.regions.mask_pooling
    assert pooling is not None
    return (None, *pooling.size)


def output_shapes(detector: Detector) -> dict[str, Shape]:
    """What a part gives, by name."""
    if detector.part == "box":
        return {"scores": (detector.classes + 1,), "deltas": (4 * (detector.classes + 1),)}
    if detector.part == "mask":
        return {"masks": (detector.classes + 1, None, None)}
    if detector.family == "set":
        return {"logits": (None, detector.classes + 1), "pred_boxes": (None, 4)}
    first = detector.part == "proposals"
    score, box = ("objectness", "deltas") if first else ("scores", "boxes")
    found: dict[str, Shape] = {}
    for level in detector.levels:
        rows, columns = level.size
        count = rows * columns * len(level.anchors)
        if count:
            found[f"{score}.{level.name}"] = (count, 1 if first else detector.classes)
            found[f"{box}.{level.name}"] = (count, 4)
        if count and detector.family == "fcos":
            found[f"centerness.{level.name}"] = (count, 1)
        if detector.regions is not None and level.name in _pooled(detector):
            found[f"features.{level.name}"] = (None, rows, columns)
    return found


def _pooled(detector: Detector) -> set[str]:
    """Levels that heads read."""
    regions = detector.regions
    assert regions is not None
    poolings = (regions.box_pooling, regions.mask_pooling)
    return {name for pooling in poolings if pooling is not None for name in pooling.levels}


def fits(shape: Shape, declared: tuple[int | str | None, ...]) -> bool:
    """Whether a declared shape, its first axis the batch, can be this one."""
    return len(declared) == len(shape) + 1 and all(
        wanted is None or not isinstance(size, int) or size == wanted
        for wanted, size in zip(shape, declared[1:], strict=True)
    )
