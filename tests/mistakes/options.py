"""Options that contradict the model, the recipe or each other, or that mean nothing here."""

from collections.abc import Callable
from pathlib import Path

from .feeding import DIGITS, QUICK, checkpoint, normal, pictures
from .table import Command, Mistake


def asked(*arguments: object) -> Callable[[Path], Command]:
    return lambda folder: ["export", normal(folder), "--calib", pictures(folder / "calib"), *QUICK, *arguments]


def replayed(*arguments: object, model: Path | None = None) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        recipe = folder / "digits.recipe.json"
        return ["export", model or checkpoint(folder), "--recipe", recipe, "-o", folder / "again.onnx", *arguments]

    return feed


def beside(folder: Path) -> Command:
    """The float model that is compared with is another one."""
    return ["eval", folder / "digits.onnx", "--data", DIGITS / "val", "--float", checkpoint(folder), "--limit", 20]


OPTIONS = (
    Mistake("a pin that matches no layer", asked("--pin", "bloks.*=8/8"), "refused", ("bloks", "--pin")),
    Mistake("a budget that no widths meet", asked("--mixed", 1.9), "refused", ("raise the budget",)),
    Mistake("a file size that no widths meet", asked("--mixed", "1kB"), "refused", ("raise the budget",)),
    Mistake("an unknown target", asked("--target", "toaster"), "refused", ("toaster",)),
    Mistake("a target that does not take the widths", asked("--target", "qnn", "--bits", "3/3"), "refused", ("qnn",)),
    Mistake(
        "widths that a runtime does not run", asked("--target", "rknn", "--bits", "4/8"), "refused", ("weight widths",)
    ),
    Mistake("a runtime that no file was run in", asked("--target", "tidl"), "told", ("never run there",)),
    Mistake("a device that is not there", asked("--device", "cuda:77"), "refused", ("cuda:77",)),
    Mistake("three means for no std", asked("--mean", "0.1,0.2"), "refused", ("--mean",)),
    Mistake("a mean of pixels of 0 to 255", asked("--mean", "123.7,116.3,103.5"), "refused", ("--mean",)),
    Mistake("a size that is not that of training", asked("--img-size", 33), "told", ("33 of --img-size", "not 32")),
    Mistake("channels that the weights do not have", asked("--in-chans", 1), "refused", ("--in-chans",)),
    Mistake(
        "a size said twice", asked("--img-size", 32, "--model-kwargs", '{"img_size": 64}'), "refused", ("--img-size",)
    ),
    Mistake("the recipe of another checkpoint", replayed(), "refused", ("recipe",)),
    Mistake(
        "a recipe and another mean",
        replayed("--mean", "0.1,0.2,0.3", model=DIGITS / "digits_vit.pt"),
        "refused",
        ("--mean", "recipe"),
    ),
    Mistake("another float model to compare with", beside, "refused", ("logits",)),
)
