"""Where annotations and pictures of a folder in COCO's format are."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from mptq_export.support.errors import MptqError

_BESIDE = ("annotations.json", "_annotations.coco.json")
_INSTANCES = "instances_"
_PICTURES = "images"
_LOOKED_AT = 50


def find_annotations(data: Path, given: Path | None) -> Path | None:
    """The annotations of a folder; None where it has none.

    They are `annotations.json` in it, or beside it where it is called `images`; or, as COCO has it,
    `annotations/instances_SPLIT.json` beside the folder SPLIT of the pictures, whichever of the two folders is named.

    Args:
        data: the folder.
        given: the file, where the user says it.

    Raises:
        MptqError: one of them is not there, or several could be meant.
    """
    if not data.is_dir():
        raise MptqError(
            f"{data} is no folder; name the folder of the pictures, and their annotations with --annotations"
        )
    if given is not None:
        if not given.is_file():
            raise MptqError(f"--annotations {given} is no file; name a file in COCO's format (instances_*.json)")
        return given
    own = data.resolve()
    beside = [data / name for name in _BESIDE]
    if own.name == _PICTURES:
        beside += [own.parent / name for name in _BESIDE]
    beside += [own.parent / "annotations" / f"{_INSTANCES}{own.name}.json"]
    found = next((file for file in beside if file.is_file()), None)
    if found is not None:
        return found
    several = sorted((data / "annotations").glob(f"{_INSTANCES}*.json"))
    with_pictures = [file for file in several if (data / split_of(file)).is_dir()]
    fitting = with_pictures or several
    if len(fitting) > 1:
        names = ", ".join(file.name for file in fitting[:4])
        raise MptqError(f"{data / 'annotations'} has {names}: say which of them with --annotations")
    return fitting[0] if fitting else None


def split_of(annotations: Path) -> str:
    """The part of a data set that a file of annotations is of: `val2017` of `instances_val2017.json`."""
    return annotations.stem.removeprefix(_INSTANCES)


def find_pictures(data: Path, annotations: Path, names: Sequence[str]) -> Path:
    """The folder below which pictures have the names that annotations give them.

    Args:
        data: the folder that the user named.
        annotations: the file.
        names: `file_name` of all pictures.

    Raises:
        MptqError: there is none, or a name leads out of it.
    """
    leaving = next((name for name in names if _leaves(name)), None)
    if leaving is not None:
        raise MptqError(f"{annotations}: the file_name {leaving[:80]!r} leads out of the folder; give names below it")
    split = split_of(annotations)
    places = dict.fromkeys((data, data / _PICTURES, data / split, annotations.parent, annotations.parent / _PICTURES))
    for place in places:
        if any(is_there(place / name) for name in _spread(names)):
            return place
    raise MptqError(
        f"none of the pictures of {annotations} ({names[0][:80]} ...) is in {data}, its folder images or {split}; name "
        "the folder that holds them with --data"
    )


def is_there(path: Path) -> bool:
    """Whether a stranger's path is a file; one that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or not to be written in the file system's letters
        return False


def _spread(names: Sequence[str]) -> Iterable[str]:
    return islice(names, 0, None, max(1, len(names) // _LOOKED_AT))


def _leaves(name: str) -> bool:
    path = Path(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name
