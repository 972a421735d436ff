"""The models that figures are of."""

from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
_DIGITS = REPO / "examples" / "digits"


@dataclass(frozen=True)
class Model:
    """A trained checkpoint with its images.

    Attributes:
        key: its name on the command line and in JSON.
        title: its name in the pages.
        checkpoint: the file.
        calib: folder of calibration images.
        val: folder of labelled images that are not among them.
        decimals: digits of a per cent that its number of validation images can tell apart.
    """

    key: str
    title: str
    checkpoint: Path
    calib: Path
    val: Path
    decimals: int = 1


def digits() -> Model:
    """The demo's model, which lies in this repository."""
    return Model("digits", "digits demo", _DIGITS / "digits_vit.pt", _DIGITS / "calib", _DIGITS / "val", 2)


def models(assets: Path | None) -> list[Model]:
    """The demo's model, and the real checkpoints where the folder of assets is known.

    Args:
        assets: holds the checkpoints and the folders ``imagenette`` and ``tinyimagenet32`` of images.
    """
    found = [digits()]
    if assets is not None:
        nette, tiny = assets / "imagenette", assets / "tinyimagenet32"
        for key, title, file, images in (
            ("deit_tiny", "DeiT-tiny", "deit_tiny_imagenette.pt", nette),
            ("vit_small", "ViT-small", "vit_small_imagenette.pt", nette),
            ("vit_small_200", "ViT-small (200 classes)", "vit_small_tinyimagenet.pt", tiny),
        ):
            found.append(Model(key, title, assets / file, images / "calib", images / "val"))
    return found


def title_of(key: str) -> str:
    """What the pages call a model."""
    return {model.key: model.title for model in models(Path())}[key]


def decimals_of(key: str) -> int:
    """Digits of a per cent for a model's shares."""
    return {model.key: model.decimals for model in models(Path())}[key]
