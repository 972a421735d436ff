"""The kit's list of contents, `manifest.json`."""

from dataclasses import dataclass

from mptq_export.kit.portable.limits import Spread, Tolerance
from mptq_export.recipe.outputs import OutputKind
from mptq_export.runtime.edge.qnn_socs import Soc

KIND = "mptq-export verification kit"
PORTABLE_KIND = "mptq-export portable kit"
MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class KitFile:
    """A file of the kit.

    Attributes:
        file: path in the folder.
        bytes: its size.
        crc32: of its bytes.
        sha256: of its bytes.
    """

    file: str
    bytes: int
    crc32: int
    sha256: str


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model with its golden values.

    Attributes:
        name: in the graph.
        dtype: as NumPy calls it.
        shape: for one golden input.
        file: with its values; None where only checksums are kept.
        crc32: of the values for every golden input.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str | None
    crc32: tuple[int, ...]


@dataclass(frozen=True)
class InnerTensor(Tensor):
    """A tensor that is no output of the model.

    Attributes:
        op: the op that makes it.
        block: module path of its block.
    """

    op: str
    block: str


@dataclass(frozen=True)
class Manifest:
    """All that a kit holds.

    Attributes:
        kind: `KIND`.
        format: raised when the list changes its meaning.
        made_by: this program and its version.
        model: path of the model in the folder.
        probes: path of what turns it into one with inner tensors as outputs.
        inputs: how many golden inputs there are.
        files: all but the runners and the lists themselves.
        input: the model's.
        outputs: the model's.
        tensors: inner ones, in graph order.
    """

    kind: str
    format: int
    made_by: str
    model: str
    probes: str
    inputs: int
    files: tuple[KitFile, ...]
    input: Tensor
    outputs: tuple[Tensor, ...]
    tensors: tuple[InnerTensor, ...]


@dataclass(frozen=True)
class Listing:
    """What every kind of kit says of itself: as much as an old kit needs to be replaced.

    Attributes:
        kind: `KIND` or `PORTABLE_KIND`.
        files: all but the runners and the lists themselves.
    """

    kind: str
    files: tuple[KitFile, ...]


@dataclass(frozen=True)
class TolerantTensor(Tensor):
    """An output of a portable model: a device may miss its golden values by so much.

    Attributes:
        kind: what its numbers are.
        step: of the codes that it is made of; None where it is made of floats.
        tolerance: what a device must keep.
        spread: the measured differences that it follows from.
    """

    kind: OutputKind
    step: float | None
    tolerance: Tolerance
    spread: Spread


@dataclass(frozen=True)
class Context:
    """A model that is prepared for one SoC.

    Attributes:
        file: path in the folder.
        soc: what it is prepared for.
    """

    file: str
    soc: Soc


@dataclass(frozen=True)
class PortableManifest:
    """All that a kit of a portable file holds.

    Attributes:
        kind: `PORTABLE_KIND`.
        format: raised when the list changes its meaning.
        made_by: this program and its version.
        target: the runtime that the model was exported for.
        model: path of the model in the folder.
        context: the same prepared for one SoC; None where none was asked for.
        inputs: how many golden inputs there are.
        files: all but the runners and the lists themselves.
        input: the model's.
        outputs: the model's.
    """

    kind: str
    format: int
    made_by: str
    target: str
    model: str
    context: Context | None
    inputs: int
    files: tuple[KitFile, ...]
    input: Tensor
    outputs: tuple[TolerantTensor, ...]
