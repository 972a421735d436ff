"""Folders of classes that are not what they seem."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from .feeding import DIGITS, QUICK, checkpoint, digits, pictures
from .table import Command, Mistake

NAMED = ("ten", "two", "Three", "four", "five", "six", "seven", "eight", "nine", "zero")
LATER = tuple(str(number) for number in range(5, 15))
"""In plain order 10 to 14 come before 5."""


def judged(*arguments: object, names: tuple[str, ...] = tuple("0123456789")) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        return ["eval", folder / "digits.onnx", "--data", digits(folder / "val", names), *arguments]

    return feed


def with_folder(name: str) -> Callable[[Path], Command]:
    """A folder that some other program left there takes the place of a class that is missing."""

    def feed(folder: Path) -> Command:
        data = digits(folder / "val", (*"012345678", ""))
        shutil.copytree(DIGITS / "val" / "9", data / name)
        return ["eval", folder / "digits.onnx", "--data", data]

    return feed


def mapped(content: str) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        (folder / "map.txt").write_text(content)
        return [*judged(names=NAMED)(folder), "--class-map", folder / "map.txt"]

    return feed


def calibrated_on(*names: str, **changes: object) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        model = checkpoint(folder, class_names=list("abcdefg"), **changes)
        return ["export", model, "--calib", pictures(folder / "calib", names, 8), *QUICK]

    return feed


def natural(folder: Path) -> Command:
    """A checkpoint that names no classes; the file's names are those of the calibration folders."""
    model = folder / "digits.pt"
    shutil.copy(DIGITS / "digits_vit.pt", model)
    calib = digits(folder / "calib", LATER, 2)
    out = folder / "later.onnx"
    from .test_table import run

    assert run(["export", model, "--calib", calib, *QUICK, "-o", out]).exit_code == 0
    return ["eval", out, "--data", digits(folder / "val", (*LATER[:7], "", "", ""))]


def loose(folder: Path) -> Command:
    data = digits(folder / "val")
    shutil.copy(next((DIGITS / "val" / "3").iterdir()), data / "stray.png")
    return ["eval", folder / "digits.onnx", "--data", data]


LABELS = (
    Mistake("classes 5 to 14 in plain order", natural, "right", ("7 class folders", "21 of 21")),
    Mistake("a subset of the classes", judged(names=("", "", "", "3", "", "5", "", "", "8", "")), "right", ("9 of 9",)),
    Mistake("a hidden folder among the classes", with_folder(".ipynb_checkpoints"), "right", ("27 of 27",)),
    Mistake("__MACOSX among the classes", with_folder("__MACOSX"), "right", ("27 of 27",)),
    Mistake("a folder that is no class", with_folder("junk"), "refused", ("junk", "--class-map")),
    Mistake("names that the file does not know", judged(names=NAMED), "refused", ("--class-map",)),
    Mistake("images outside of the class folders", loose, "refused", ("class",)),
    Mistake("a class map that names too few", mapped("ten\ntwo\n"), "refused", ("--class-map",)),
    Mistake(
        "a class map that names a class twice", mapped('{"ten": 0, "two": 1, "1": "other"}'), "refused", ("map.txt",)
    ),
    Mistake(
        "a class map of another order", mapped(json.dumps({n: i for i, n in enumerate(NAMED)})), "right", ("30 of 30",)
    ),
    Mistake(
        "a class map with numbers beside the names",
        mapped("\n".join(f"{name},{9 - place}" for place, name in enumerate(NAMED))),
        "refused",
        ("a name and a number",),
    ),
    Mistake(
        "a class map that counts from 1",
        mapped(json.dumps({name: place + 1 for place, name in enumerate(NAMED)})),
        "refused",
        ("up to class 10", "10 logits", "from 0"),
    ),
    Mistake("calibration folders of other classes", calibrated_on("x", "y"), "told", ("x",)),
    Mistake("class names that are too many", calibrated_on("a", "b", model_kwargs=None), "refused", ("vit_tiny",)),
)
