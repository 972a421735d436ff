"""The pictures that a detector is evaluated on, and what there is to find on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mptq_export.data.class_names import ClassNames
from mptq_export.data.coco.categories import match_categories
from mptq_export.data.coco.layout import find_annotations
from mptq_export.data.coco.read import read_coco
from mptq_export.data.coco.scenes import CocoFolder, SceneObject
from mptq_export.data.image_files import find_images
from mptq_export.data.images import spread
from mptq_export.evaluate.request import EvalRequest
from mptq_export.recipe.detector import Detector
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json

_SHOWN = 3
_MOST_MISSING = 0.1


@dataclass(frozen=True)
class Scenes:
    """Pictures, with objects where they are known.

    Attributes:
        folder: that they lie below.
        files: of them, in order.
        sizes: (height, width) that annotations say, by file.
        objects: that are judged, by file; None without annotations.
        labels: the detector's label of each category, by id.
        names: of the categories, by id.
        matched: how categories were found among the classes, for people; None without annotations.
        masks: whether every object has a mask.
        about: what was counted, as plain JSON values.
        warnings: what the user should know, a sentence each.
    """

    folder: Path
    files: tuple[Path, ...]
    sizes: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    objects: Mapping[Path, list[SceneObject]] | None = None
    labels: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    matched: str | None = None
    masks: bool = False
    about: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def judged(self) -> int:
        """How many objects there are to find."""
        return sum(not each.crowd for some in (self.objects or {}).values() for each in some)

    def on(self, file: Path) -> list[SceneObject]:
        """The objects on a picture."""
        return [] if self.objects is None else self.objects[file]


def scenes_for(asked: EvalRequest, detector: Detector, class_map: ClassNames | None) -> Scenes:
    """Find pictures, and what is on them.

    Args:
        asked: the folder, its annotations, and how many pictures.
        detector: that is evaluated.
        class_map: names of the classes that the user gave.

    Raises:
        MptqError: annotations cannot be judged, or there are no pictures.
    """
    data, limit = asked.data, asked.limit
    said = find_annotations(data, asked.annotations)
    if said is None:
        found = find_images(data)
        return Scenes(data, tuple(found if limit is None else spread(found, limit)))
    coco = read_coco(data, said)
    _check_missing(coco, asked.allow_skipped)
    scenes = coco.scenes if limit is None else spread(coco.scenes, limit)
    chosen = {scene.file for scene in scenes}
    there = [each for each in coco.objects if each.file in chosen]
    matched = match_categories(said, coco.categories, {each.category for each in there}, detector, class_map)
    objects: dict[Path, list[SceneObject]] = {scene.file: [] for scene in scenes}
    for each in there:
        if each.category in matched.labels:
            objects[each.file].append(each)
    judged = sum(map(len, objects.values()))
    masks = judged > 0 and all(each.segmentation is not None for some in objects.values() for each in some)
    about: dict[str, Json] = {
        "annotations": str(said),
        "counted": {**coco.counted.to_json(), "of_classes_that_the_model_lacks": len(there) - judged},
        "categories_that_the_model_lacks": list(matched.lacking),
    }
    warnings = list(coco.counted.sentences(said))
    if coco.missing:
        warnings.append(f"{len(coco.missing)} pictures of {said} are not there ({_some(coco.missing)}): left out")
    if matched.lacking:
        warnings.append(
            f"{len(there) - judged} objects of {len(matched.lacking)} categories that the model lacks "
            f"({_some(matched.lacking)}) are left out: AP is that of the other categories"
        )
    return Scenes(
        coco.folder,
        tuple(scene.file for scene in scenes),
        {scene.file: scene.size for scene in scenes if scene.size is not None},
        objects,
        matched.labels,
        coco.categories,
        matched.text,
        masks,
        about,
        tuple(warnings),
    )


def _check_missing(coco: CocoFolder, allow_skipped: bool) -> None:
    """Refuse to judge what is left of a data set.

    Raises:
        MptqError: more than a tenth of the pictures are not there, and that was not allowed.
    """
    listed = len(coco.scenes) + len(coco.missing)
    if len(coco.missing) > _MOST_MISSING * listed and not allow_skipped:
        raise MptqError(
            f"{len(coco.missing)} of {listed} pictures of {coco.annotations} are not in {coco.folder} "
            f"({_some(coco.missing)}), more than a tenth; name their folder with --data, or pass --allow-skipped"
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
