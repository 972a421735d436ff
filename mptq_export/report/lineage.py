"""Where a file comes from, as an export measured it for a dossier: checkpoint, inputs, and every trained tensor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HashedFile:
    """A file that was read.

    Attributes:
        name: its path below the folder that was named, or its name.
        size: in bytes.
        sha256: of its bytes.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class TrainedTensor:
    """One tensor of the float model, by the name that its library gives it.

    Attributes:
        name: in the model's state.
        dtype: as the model holds it.
        shape: its sizes.
        sha256: of its values, little endian, in C order.
        reaches: the constants of the rewritten graph that are computed from it, `NODE.PARAMETER`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    reaches: tuple[str, ...]


@dataclass(frozen=True)
class RewrittenWeight:
    """The float weight of one layer behind all rewrites, from which its codes were chosen.

    Attributes:
        sha256: of float32 [N, K], little endian.
        signal: mean square of its values.
        noise: mean square of their distance to codes times scale, with what calibration corrected on purpose.
    """

    sha256: str
    signal: float
    noise: float


@dataclass(frozen=True)
class Lineage:
    """All of it.

    Attributes:
        checkpoint: the files that the weights may be read of; none where a library or a program made the model.
        inputs: how many calibration inputs there were; 0 where the codes came from a recipe.
        inputs_sha256: of all of them as the model takes them, float32, little endian, in order; empty without any.
        files: the images that they were made of, in order, where they were files.
        tensors: of the float model.
        weights: by layer.
    """

    checkpoint: tuple[HashedFile, ...]
    inputs: int
    inputs_sha256: str
    files: tuple[HashedFile, ...]
    tensors: tuple[TrainedTensor, ...]
    weights: dict[str, RewrittenWeight]
