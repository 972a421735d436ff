"""Pictures and the objects on them, as plain data."""

from dataclasses import asdict, dataclass
from pathlib import Path

from mptq_export.support.json_files import Json

Segmentation = list[list[float]] | dict[str, Json]
"""COCO's: polygons (x, y, x, y ...), or runs of 0 and 1 down the columns as `size` and `counts`."""


@dataclass(frozen=True)
class Scene:
    """A picture.

    Attributes:
        file: where it is.
        size: (height, width) that the annotations say; None where they do not.
    """

    file: Path
    size: tuple[int, int] | None


@dataclass(frozen=True)
class SceneObject:
    """An object on a picture.

    Attributes:
        file: the picture.
        category: its id.
        box: (x, y, width, height) in pixels of the picture.
        area: in pixels; it decides between small, medium and large.
        crowd: whether it stands for several that are not told apart: what is found in it counts neither way.
        segmentation: its mask; None where it has none that can be read.
    """

    file: Path
    category: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    segmentation: Segmentation | None


@dataclass(frozen=True)
class Counted:
    """What was found in annotations that are not as they should be, and what is good to know of them.

    Attributes:
        without_picture: objects on pictures that the file does not list; left out.
        without_category: objects of categories that the file does not list; left out.
        empty_boxes: objects without width or height; left out.
        outside: objects whose box has nothing in common with its picture; left out.
        beyond: objects whose box reaches out of its picture by more than a pixel; judged as they are.
        repeated: objects that stand twice with everything that they say; judged once.
        same_ids: other objects with an id that was there before; judged under ids of their own.
        missing: pictures that are not there; left out, with their objects.
    """

    without_picture: int = 0
    without_category: int = 0
    empty_boxes: int = 0
    outside: int = 0
    beyond: int = 0
    repeated: int = 0
    same_ids: int = 0
    missing: int = 0

    def sentences(self, annotations: Path) -> tuple[str, ...]:
        """For people, what there is of it."""
        said = {
            "without_picture": "lie on pictures that it does not list: left out",
            "without_category": "are of categories that it does not list: left out",
            "empty_boxes": "have a box without width or height: left out",
            "outside": "have a box that lies outside of its picture: left out",
            "beyond": "have a box that reaches out of its picture by more than a pixel: judged as they are",
            "repeated": "stand in it twice: judged once",
            "same_ids": "have the id of another one: judged as objects of their own",
        }
        counts = asdict(self)
        return tuple(f"{annotations}: {counts[name]} objects {text}" for name, text in said.items() if counts[name])

    def to_json(self) -> dict[str, Json]:
        """All counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class CocoFolder:
    """Pictures with their objects.

    Attributes:
        annotations: the file that says them.
        folder: where the pictures are.
        scenes: the pictures that are there, in the order of the file.
        objects: on them, in the order of the file.
        categories: names by id.
        counted: what was left out, and what is unusual.
        missing: names of pictures that are not there.
    """

    annotations: Path
    folder: Path
    scenes: tuple[Scene, ...]
    objects: tuple[SceneObject, ...]
    categories: dict[int, str]
    counted: Counted
    missing: tuple[str, ...] = ()
