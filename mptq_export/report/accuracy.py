"""What was found on images of the user's: OUT.eval.json, which `mptq-eval OUT.onnx --json OUT.eval.json` writes."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mptq_export.recipe.outputs import OutputKind
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import read_json

_PICTURE = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Shares:
    """Accuracy of one model, in shares of 1; None without labels.

    Attributes:
        top1: of logits.
        top5: of logits, with five classes or more.
        nearest: of an embedding, by the nearest neighbour.
        ten: by the majority of the ten nearest.
    """

    top1: float | None = None
    top5: float | None = None
    nearest: float | None = None
    ten: float | None = None


@dataclass(frozen=True)
class StoredNeighbours:
    """See `evaluate.neighbours.Neighbours`."""

    nearest: float
    nearest_interval: tuple[float, float]
    ten: float | None


@dataclass(frozen=True)
class StoredCloseness:
    """See `evaluate.embeddings.Closeness`."""

    cosine: float
    neighbours: StoredNeighbours | None


@dataclass(frozen=True)
class StoredClass:
    """See `evaluate.by_class.ClassAccuracy`."""

    label: int
    images: int
    right: int
    float_right: int | None
    name: str

    def __post_init__(self) -> None:
        if not 0 <= max(self.right, self.float_right or 0) <= self.images or self.images < 1:
            raise ValueError("an accuracy of a class that cannot be")


@dataclass(frozen=True)
class StoredWorst:
    """See `evaluate.worst_images.WorstImage`."""

    distance: float
    says: int
    float_says: int | None
    label: int | None
    file: str
    names: tuple[str, str, str]
    picture: str

    def __post_init__(self) -> None:
        if not _PICTURE.fullmatch(self.picture):
            raise ValueError("a picture that is none")


@dataclass(frozen=True)
class EvaluatedOutput:
    """One output of a file.

    Attributes:
        output: its name.
        kind: what its numbers are.
        quantised: accuracy of the file.
        floating: that of the float model, if it was given.
        agreement: share of the images for which both name the same class.
        mean_kl: mean KL(float || file), in nats.
        kl_interval: of the mean KL, at 95 %.
        beside_float: of an embedding.
        cosine: of all else.
        sqnr_db: of all else; None without an error.
        by_class: of logits, of every class that has images; empty without labels.
        worst: of logits, the images on which the file fares worst.
    """

    output: str
    kind: OutputKind
    quantised: Shares | None = None
    floating: Shares | None = None
    agreement: float | None = None
    mean_kl: float | None = None
    kl_interval: tuple[float, float] | None = None
    beside_float: StoredCloseness | None = None
    cosine: float | None = None
    sqnr_db: float | None = None
    by_class: tuple[StoredClass, ...] = ()
    worst: tuple[StoredWorst, ...] = ()


@dataclass(frozen=True)
class StoredRuntime:
    """See `evaluate.edge.RanIn`."""

    runtime: str
    device: str


@dataclass(frozen=True)
class StoredAp:
    """See `evaluate.detection.average_precision.AveragePrecision`."""

    ap: float | None


@dataclass(frozen=True)
class StoredPrecision:
    """See `evaluate.detection.report.Precision`."""

    kind: Literal["box", "mask"]
    quantised: StoredAp
    floating: StoredAp | None
    difference: float | None
    difference_interval: tuple[float, float] | None


@dataclass(frozen=True)
class StoredIou:
    """See `evaluate.segmentation.overlap.Overlap`."""

    mean_iou: float


@dataclass(frozen=True)
class StoredIntersection:
    """See `evaluate.segmentation.report.Intersection`."""

    quantised: StoredIou
    floating: StoredIou | None
    difference: float | None
    difference_interval: tuple[float, float] | None


@dataclass(frozen=True)
class StoredFoundAgain:
    """See `evaluate.detection.agreement.FoundAgain`."""

    detections: int
    at_50: float | None
    at_75: float | None


@dataclass(frozen=True)
class StoredAgreement:
    """See `evaluate.detection.agreement.Agreement`."""

    of_float: StoredFoundAgain


@dataclass(frozen=True)
class Evaluation:
    """What `mptq-eval` found; see `evaluate.run.Evaluated`.

    Attributes:
        sha256: of the file that was run.
        images: how many.
        quantised: the file, where it is a classifier and nothing else.
        floating: the float model, if it was given.
        agreement: share of the images for which both name the same class.
        mean_kl: mean KL(float || file), in nats.
        kl_interval: of the mean KL, at 95 %.
        warnings: what `mptq-eval` warned of: labels, images that were left out.
        outputs: what it gives otherwise.
        ran_in: the other runtime that computed the file; None for onnxruntime on a CPU.
        task: what it was judged at, where it was more than its outputs.
        precision: of a detector: of boxes, and of masks.
        found_again: of a detector beside its float model.
        iou: of a segmentation, by label maps.
        same_class: of a segmentation: share of the pixels that both give the same class.
        images_sha256: over the hashes and names of the images' files; None in files of older versions.
        by_class: of a classifier and nothing else.
        worst: of a classifier and nothing else.
    """

    sha256: str
    images: int
    quantised: Shares | None = None
    floating: Shares | None = None
    agreement: float | None = None
    mean_kl: float | None = None
    kl_interval: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    outputs: tuple[EvaluatedOutput, ...] = ()
    ran_in: StoredRuntime | None = None
    task: Literal["detection", "segmentation"] | None = None
    precision: tuple[StoredPrecision, ...] = ()
    found_again: StoredAgreement | None = None
    iou: StoredIntersection | None = None
    same_class: float | None = None
    images_sha256: str | None = None
    by_class: tuple[StoredClass, ...] = ()
    worst: tuple[StoredWorst, ...] = ()

    def __post_init__(self) -> None:
        if self.task is None and (self.quantised is None) == (not self.outputs):
            raise ValueError("it has neither the accuracy of a classifier nor a list of outputs")

    @property
    def each(self) -> tuple[EvaluatedOutput, ...]:
        """All outputs that were judged by themselves, a classifier's too."""
        if self.task is not None:
            return ()
        logits = EvaluatedOutput(
            "logits", "logits", self.quantised, self.floating, self.agreement, self.mean_kl, self.kl_interval
        )
        return self.outputs or (replace(logits, by_class=self.by_class, worst=self.worst),)


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
