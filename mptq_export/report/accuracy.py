"""Accuracy on labelled images: OUT.eval.json, which `mptq-eval OUT.onnx --json OUT.eval.json` writes."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import read_json


@dataclass(frozen=True)
class Shares:
    """Accuracy of one model, in shares of 1; None without labels."""

    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class Evaluation:
    """What `mptq-eval` found; see `evaluate.run.EvalReport`.

    Attributes:
        sha256: of the file that was run.
        images: how many.
        quantised: the file.
        floating: the float model, if it was given.
        agreement: share of the images for which both name the same class.
        mean_kl: mean KL(float || file), in nats.
        warnings: what `mptq-eval` warned of: labels, images that were left out.
    """

    sha256: str
    images: int
    quantised: Shares
    floating: Shares | None
    agreement: float | None
    mean_kl: float | None
    warnings: tuple[str, ...] = ()


def accuracy_path(onnx_path: Path) -> Path:
    """OUT.eval.json."""
    return onnx_path.with_suffix(".eval.json")


def read_evaluation(onnx_path: Path, digest: str) -> Evaluation | None:
    """Read OUT.eval.json.

    Args:
        onnx_path: OUT.onnx.
        digest: its SHA-256.

    Returns:
        None where there is no such file.

    Raises:
        MptqError: it is damaged, or of another ONNX file.
    """
    path = accuracy_path(onnx_path)
    if not path.is_file():
        return None
    try:
        found = read_json(path, Evaluation)
    except (OSError, ValueError) as error:
        raise MptqError(f"{path.name} is not what mptq-eval --json writes ({error})") from error
    if found.sha256 != digest:
        raise MptqError(f"{path.name} was measured on another file")
    return found
