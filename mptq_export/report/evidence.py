"""What an export measured for its report: OUT.report.json, beside the ONNX file.

The recipe holds decisions and is the same on every run. This holds measurements: they need the float model and the
images, which are gone when the report is built again.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mptq_export.recipe.outputs import OutputKind
from mptq_export.report.lineage import Lineage
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import load_json
from mptq_export.support.typed_json import from_json
from mptq_export.verify.inputs.sets import InputKind
from mptq_export.verify.kernels.plan import MatmulKernel
from mptq_export.verify.portable import PortableCheck

#: Raised when a stored file changes its meaning.
VERSION = 4

ErrorKind = Literal["layer", "stream"]
"""A linear layer, patch embedding or attention's product with v; or a residual sum."""


@dataclass(frozen=True)
class LayerError:
    """How far the quantized model is from the float model after one node, on a few calibration images.

    Attributes:
        kind: what the node is.
        signal: mean square of the float value.
        noise: mean square of the difference.
    """

    kind: ErrorKind
    signal: float
    noise: float

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in decibels; infinite without noise."""
        if self.noise <= 0:
            return math.inf
        return 10 * (math.log10(max(self.signal, 1e-300)) - math.log10(self.noise))


@dataclass(frozen=True)
class ChannelRanges:
    """What SQ-b did to the ranges of a layer norm's channels, sorted by their width before.

    Every value is a share of the largest magnitude in the whole tensor: one quantizer serves all channels.

    Attributes:
        channels: how many there are; neighbours are joined where they are many.
        before_low: smallest value of a channel before SQ-b.
        before_high: largest value before.
        after_low: smallest value after.
        after_high: largest value after.
    """

    channels: int
    before_low: tuple[float, ...]
    before_high: tuple[float, ...]
    after_low: tuple[float, ...]
    after_high: tuple[float, ...]

    def __post_init__(self) -> None:
        curves = (self.before_low, self.before_high, self.after_low, self.after_high)
        if {len(curve) for curve in curves} != {len(curves[0])} or not curves[0]:
            raise ValueError("channel ranges of different lengths")
        if any(not -1 <= value <= 1 for curve in curves for value in curve):
            raise ValueError("channel ranges outside [-1, 1]")


@dataclass(frozen=True)
class ValueHistogram:
    """What a quantizer saw, in bins of one width.

    Attributes:
        low: lower end of the first bin.
        high: upper end of the last bin.
        counts: values in each bin.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.low < self.high or not self.counts or min(self.counts) < 0:
            raise ValueError("a histogram without bins or values")


@dataclass(frozen=True)
class Agreement:
    """The written file in onnxruntime beside the float model, on images that every export of a checkpoint has the same.

    Attributes:
        images: how many were run.
        same: for how many both name the same class.
        low: of the share of the same class, in 95 % of cases at least (see `metrics.share_interval`).
        high: at most.
        mean_kl: mean KL(float || file) of the softmax of the logits, in nats.
        kl_low: of the mean KL, in 95 % of cases at least (see `metrics.mean_interval`).
        kl_high: at most.
        source: which images they are, for people.
        calibrated: how many of them the export was calibrated on; all others were held back.
    """

    images: int
    same: int
    low: float
    high: float
    mean_kl: float
    kl_low: float
    kl_high: float
    source: str
    calibrated: int

    def __post_init__(self) -> None:
        known = self.images > 0 and 0 <= self.low <= self.same / self.images <= self.high <= 1
        if not known or self.calibrated < 0:
            raise ValueError("an agreement that cannot be")


@dataclass(frozen=True)
class OutputCloseness:
    """An output that is no classes, of the written file in onnxruntime, beside the float model's, on the same images.

    Attributes:
        output: its name.
        kind: what its numbers are.
        images: how many were run.
        cosine: mean cosine, of embeddings, of the channels of positions and tokens, or of all values of an image.
        lowest_cosine: of the embedding that differs most; None for other kinds.
        sqnr_db: squares of the float values by squares of the error, in dB; None for embeddings, or without an error.
        same_nearest: how many images keep their nearest neighbour among them; None for other kinds, or few images.
        same_nearest_low: of the share of them, in 95 % of cases at least (see `metrics.share_interval`).
        same_nearest_high: at most.
        shared_ten: mean share of the ten nearest that stay.
        source: which images they are, for people.
        calibrated: how many of them the export was calibrated on; all others were held back.
    """

    output: str
    kind: OutputKind
    images: int
    cosine: float
    lowest_cosine: float | None
    sqnr_db: float | None
    same_nearest: int | None
    same_nearest_low: float | None
    same_nearest_high: float | None
    shared_ten: float | None
    source: str
    calibrated: int

    def __post_init__(self) -> None:
        shares = (self.same_nearest_low, self.same_nearest_high, self.shared_ten)
        known = (
            self.images > 0 and abs(self.cosine) <= 1 and all(0 <= share <= 1 for share in shares if share is not None)
        )
        if not known or self.calibrated < 0 or not 0 <= (self.same_nearest or 0) <= self.images:
            raise ValueError("a closeness that cannot be")


@dataclass(frozen=True)
class Latency:
    """One image on this machine, medians of runs in turn.

    Attributes:
        cpu: what it ran on.
        threads: of onnxruntime.
        rounds: timed runs of each.
        file_ms: the written file.
        float_ms: the float model in onnxruntime; None where it was not timed.
        ratio: median over the rounds of file against float; None where it was not timed.
        why_no_float: why not, in the middle of a sentence; empty where it was.
    """

    cpu: str
    threads: int
    rounds: int
    file_ms: float
    float_ms: float | None
    ratio: float | None
    why_no_float: str = ""


@dataclass(frozen=True)
class Check:
    """onnxruntime against `kernels_ref`, as the export ran it.

    Attributes:
        values: values that were compared.
        differing: how many differed.
        tensors: tensors that were compared.
        inputs: how many inputs of each kind, such as `images`.
        batches: sizes of the batches.
        outputs_only: inputs in batches of which the outputs alone were compared: all tensors take too much memory.
    """

    values: int
    differing: int
    tensors: int
    inputs: dict[InputKind, int]
    batches: tuple[int, ...]
    outputs_only: int


@dataclass(frozen=True)
class Evidence:
    """All that an export measured.

    Attributes:
        version: `VERSION`.
        onnx_sha256: of the file that this belongs to.
        command: a command line that does the same again.
        model_options: what it says of the model, which a replay of the recipe must say too.
        versions: of what measured, by name.
        float_bytes: size of the weights in float32.
        macs: multiply-accumulates an image of every layer whose operands have a width.
        observed_images: on how many images errors, ranges and histograms were taken; 0: none were at hand.
        errors: by node, in graph order.
        norms: by layer norm.
        histograms: by key of a quantizer whose levels have regions.
        check: exactness; None of a portable file, of which nothing is proved.
        kernels: matmuls in graph order.
        op_counts: nodes of each op in onnxruntime's optimised graph.
        agreement: None where the float model and images were not at hand, or the model gives no classes.
        outputs: every output that is no classes; empty where the float model and images were not at hand.
        latency: None where a run takes too long to be timed in passing.
        weights: which weights of the checkpoint were taken.
        input: how images become the input, and who said each part of it.
        warnings: what the user must know before the file is used, a sentence each.
        notes: what was inferred from the checkpoint, a sentence each.
        portable: a portable file beside the simulation; None of an exact one.
        lineage: where the file comes from; None where no dossier was asked for.
        weight_steps: of every layer, its float weights in the steps of their channels; empty in files of before.
    """

    version: int
    onnx_sha256: str
    command: str
    model_options: tuple[str, ...]
    versions: dict[str, str]
    float_bytes: int
    macs: dict[str, int]
    observed_images: int
    errors: dict[str, LayerError]
    norms: dict[str, ChannelRanges]
    histograms: dict[str, ValueHistogram]
    check: Check | None
    kernels: tuple[MatmulKernel, ...]
    op_counts: dict[str, int]
    agreement: Agreement | None
    outputs: tuple[OutputCloseness, ...]
    latency: Latency | None
    weights: str
    input: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    portable: PortableCheck | None = None
    lineage: Lineage | None = None
    weight_steps: dict[str, ValueHistogram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.float_bytes <= 0 or min(self.macs.values(), default=0) < 0:
            raise ValueError("sizes that cannot be")


def read_evidence(path: Path) -> Evidence:
    """Read OUT.report.json.

    Raises:
        MptqError: it is damaged or of another version.
    """
    try:
        content = load_json(path)
        version = content["version"]
        if version != VERSION:
            raise MptqError(f"{path} has version {version!r}, this program reads {VERSION}; export again")
        return from_json(Evidence, content)
    except OSError as error:
        raise MptqError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MptqError(f"{path} is damaged ({error}); delete it, or export again") from error
