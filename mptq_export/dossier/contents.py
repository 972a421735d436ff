"""What a dossier says, as data: `dossier.json`, from which its HTML and its PDF are laid out, and nothing else.

A number stands here once. What is None is not known, or has no bound.
"""

from dataclasses import dataclass

from mptq_export.report.lineage import HashedFile, TrainedTensor

KIND = "mptq-export dossier"
FORMAT = 1

Size = int | str | None
"""Of an axis: a name where the size is free, None where it is not known."""


@dataclass(frozen=True)
class Calibration:
    """On what the codes were chosen.

    Attributes:
        description: of the inputs, for people.
        images: how many there were.
        inputs_sha256: of all inputs as the model takes them, float32, little endian, in order; None where not measured.
        files: the files that they were made of.
    """

    description: str
    images: int
    inputs_sha256: str | None
    files: tuple[HashedFile, ...]


@dataclass(frozen=True)
class Identity:
    """Which file this is about, and what it was made of.

    Attributes:
        file: the ONNX file.
        recipe: its recipe, JSON and tensors.
        contents_sha256: of the list of all parts of the file, which file and recipe both hold.
        parts: how many parts were compared with that list now: tensors, nodes, metadata.
        layers: how many layers' weight codes were unpacked from the file now and equal the recipe's.
        ir_version: of the ONNX file.
        opset: of ONNX's own operators.
        metadata: all that the file says of itself.
        model: name of the architecture.
        model_source: who said so.
        model_arguments: what it was built with, as JSON.
        library: whose it is.
        weights_sha256: over names and values of all tensors of the float model.
        checkpoint: the files that these may be read of.
        calibration: what the codes were chosen on.
        versions: of what exported.
        measured_with: versions and machine of what measured.
        command: a command line that does the export again; None where it is not known.
    """

    file: HashedFile
    recipe: tuple[HashedFile, ...]
    contents_sha256: str
    parts: int
    layers: int
    ir_version: int
    opset: int
    metadata: dict[str, str]
    model: str
    model_source: str
    model_arguments: str
    library: str
    weights_sha256: str
    checkpoint: tuple[HashedFile, ...]
    calibration: Calibration
    versions: dict[str, str]
    measured_with: dict[str, str]
    command: str | None


@dataclass(frozen=True)
class AssumedFunction:
    """What is assumed of one function of a runtime.

    Attributes:
        function: its name.
        of_result: share of the result by which it may be wrong.
        of_argument: share of the argument that is added to that.
        nodes: how many nodes of the file compute it.
    """

    function: str
    of_result: float
    of_argument: float
    nodes: int


@dataclass(frozen=True)
class Assumption:
    """The one assumption about a runtime, and how far the file is from needing it.

    Attributes:
        statement: in words.
        functions: the functions of this file.
        division: share of a quotient that QuantizeLinear may round away besides.
        margin: least distance of a result to a rounding boundary that is allowed, in steps.
        smallest_margin: the least distance in this file, in steps; None without such a function.
        largest_share: the largest share of the distance to a boundary that the assumed error takes.
        arguments: how many arguments of all functions were run in the installed onnxruntime now, each giving the code
            that the reference gives.
        onnxruntime: the version that ran them.
    """

    statement: str
    functions: tuple[AssumedFunction, ...]
    division: float
    margin: float
    smallest_margin: float | None
    largest_share: float | None
    arguments: int
    onnxruntime: str


@dataclass(frozen=True)
class Checked:
    """The comparison of onnxruntime with the reference that the export made before the file appeared.

    Attributes:
        values: how many were compared, bit by bit.
        differing: how many differ.
        tensors: of the file.
        inputs: how many of each kind.
        batches: their sizes.
        outputs_only: inputs of which the outputs alone were compared.
        kernels: matmuls by the kernel of onnxruntime that ran them.
        float_matmuls: how many of them ran in float.
    """

    values: int
    differing: int
    tensors: int
    inputs: dict[str, int]
    batches: tuple[int, ...]
    outputs_only: int
    kernels: dict[str, int]
    float_matmuls: int


@dataclass(frozen=True)
class Criterion:
    """What it means that a runtime runs this file as it was checked.

    Attributes:
        statement: the criterion.
        runtime: where it holds.
        oldest_onnxruntime: the oldest version that opens the file.
        preconditions: what the caller has to keep.
        assumption: what is assumed of the runtime.
        checked: None where the export's own comparison is not at hand.
    """

    statement: str
    runtime: str
    oldest_onnxruntime: str | None
    preconditions: tuple[str, ...]
    assumption: Assumption
    checked: Checked | None


@dataclass(frozen=True)
class Attribute:
    """An attribute of an operator.

    Attributes:
        name: as ONNX calls it.
        value: as JSON.
        default: whether the file leaves it out, so that the operator's definition gives it.
    """

    name: str
    value: str
    default: bool


@dataclass(frozen=True)
class Operand:
    """A tensor that an operator reads or makes.

    Attributes:
        name: in the file; empty for an optional one that is left out.
        type: of its elements.
        shape: its sizes; None where the rank is not known.
        low: no value is below it, whatever the input; None where nothing bounds it.
        high: no value is above it.
        constant: whether it depends on constants alone.
        sha256: of a stored constant, as the recipe lists it.
    """

    name: str
    type: str
    shape: tuple[Size, ...] | None
    low: float | None
    high: float | None
    constant: bool
    sha256: str | None


@dataclass(frozen=True)
class Operator:
    """One node of the graph.

    Attributes:
        number: its place, from 1.
        name: of the node.
        op: the operator.
        domain: whose it is; `ai.onnx` is ONNX's own.
        version: of the operator, the opset that defined it as it is used.
        attributes: all, those that have their default value too.
        inputs: in order.
        outputs: in order.
        kind: key of its `OperatorKind`: how it rounds, what happens at the ends.
        kernel: what `kernels_ref` computes it as, or as a part of: itself, or a fused kernel.
        runtime_kernel: the kernel of onnxruntime that ran it, of a matmul; None where that is not recorded.
        bounds: numbers of the bounds of its layer.
    """

    number: int
    name: str
    op: str
    domain: str
    version: int
    attributes: tuple[Attribute, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    kind: str
    kernel: str
    runtime_kernel: str | None
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class OperatorKind:
    """How operators of one kind compute.

    Attributes:
        key: what operators name it by.
        operators: how many of the file are of this kind.
        rounding: where a value is rounded, and how.
        overflow: what happens, or why nothing can happen, at the ends of the type.
    """

    key: str
    operators: int
    rounding: str
    overflow: str


@dataclass(frozen=True)
class CoveringTest:
    """A test of the reference.

    Attributes:
        test: file and function.
        cases: how many of its cases run the kernel to its end.
    """

    test: str
    cases: int


@dataclass(frozen=True)
class KernelTests:
    """The tests of the reference that run one of its kernels.

    Attributes:
        kernel: its name.
        operators: how many operators of the file are computed by it.
        tests: in order of their names.
    """

    kernel: str
    operators: int
    tests: tuple[CoveringTest, ...]


@dataclass(frozen=True)
class Bound:
    """One claim of the proof; see `recipe.schema.Claim`.

    Attributes:
        number: its place, from 1, by which operators name it.
        layer: where.
        what: the quantity.
        value: the worst that it can be.
        relation: `at most` or `at least`.
        limit: what it must not pass.
    """

    number: int
    layer: str
    what: str
    value: float
    relation: str
    limit: float


@dataclass(frozen=True)
class StoredTensor:
    """A constant of the file.

    Attributes:
        name: in the file.
        sha256: of type, shape and values, as the recipe lists it.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class TracedLayer:
    """One layer with weights, from what was trained to what is stored.

    Attributes:
        layer: its name.
        trained: names of the tensors that its weights are computed from, where that was traced.
        rewritten_sha256: of its float weights behind all rewrites; None where that was not traced.
        sqnr_db: squares of these by squares of their distance to codes times scale; None where not traced, or equal.
        bits: width of the codes.
        form: which codes there may be.
        shape: [N, K] of the codes.
        sha256: over width, form, codes, scales and bias, as the recipe has it.
        reason: why these codes.
        stored: the file's constants of this layer.
    """

    layer: str
    trained: tuple[str, ...]
    rewritten_sha256: str | None
    sqnr_db: float | None
    bits: int
    form: str
    shape: tuple[int, int]
    sha256: str
    reason: str
    stored: tuple[StoredTensor, ...]


@dataclass(frozen=True)
class Quantizer:
    """Where a tensor becomes codes, `x = (code - zero_point) * scale`.

    Attributes:
        site: layer and operand.
        bits: width.
        scale: of one step.
        zero_point: the code of 0.
        low: smallest code.
        high: largest code.
        regions: how many regions of scale ratio 2^m there are; 0 where all steps are alike.
        reason: why these numbers.
    """

    site: str
    bits: int
    scale: float
    zero_point: int
    low: int
    high: int
    regions: int
    reason: str


@dataclass(frozen=True)
class Trace:
    """From trained tensors to codes.

    Attributes:
        tensors: of the float model, with the constants of the rewritten graph that they reach; empty where not traced.
        layers: with weights.
        quantizers: of activations.
    """

    tensors: tuple[TrainedTensor, ...]
    layers: tuple[TracedLayer, ...]
    quantizers: tuple[Quantizer, ...]


@dataclass(frozen=True)
class GoldenTensor:
    """A tensor with golden values.

    Attributes:
        name: in the file.
        role: `input`, `output` or `inner`.
        dtype: as NumPy calls it.
        shape: of the values for one golden input.
        crc32: of the values for every golden input, little endian, C order.
        file: that holds them, in the folder of the dossier; None where checksums alone are kept.
        sha256: of that file.
    """

    name: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    crc32: tuple[int, ...]
    file: str | None
    sha256: str | None


@dataclass(frozen=True)
class Golden:
    """Inputs with all that the file must give for them.

    Attributes:
        origin: what the inputs are.
        inputs: how many.
        tensors: in graph order.
    """

    origin: str
    inputs: int
    tensors: tuple[GoldenTensor, ...]


@dataclass(frozen=True)
class Measured:
    """One figure of how good the file is.

    Attributes:
        output: of the file, or the task.
        what: the figure.
        value: it.
        low: of the interval at 95 %; None where there is none.
        high: of the same.
        interval: how it was made.
        float_value: the same of the float model; None where it was not measured.
        images: how many.
        on: which images.
        images_sha256: over the hashes and names of their files; None where it is not known.
        source: the file that holds it.
    """

    output: str
    what: str
    value: float
    low: float | None
    high: float | None
    interval: str
    float_value: float | None
    images: int
    on: str
    images_sha256: str | None
    source: str


@dataclass(frozen=True)
class Source:
    """Where the values of a part of this document come from.

    Attributes:
        part: path in this document.
        source: the file and the place, or how it was computed from what.
    """

    part: str
    source: str


@dataclass(frozen=True)
class Dossier:
    """The whole document.

    Attributes:
        kind: `KIND`.
        format: raised when the document changes its meaning.
        made_by: this program and its version.
        identity: which file, made of what.
        criterion: what it means that it runs as checked.
        operators: of the graph, in order.
        kinds: how they compute.
        tests: of the reference, by its kernel.
        bounds: of the proof.
        trace: from trained tensors to codes.
        golden: inputs and outputs to check a device by.
        accuracy: how good the file is.
        warnings: of export and evaluation, a sentence each.
        not_shown: what this document does not show, a sentence each.
        sources: where everything comes from.
        files: of the folder, but for this document itself.
    """

    kind: str
    format: int
    made_by: str
    identity: Identity
    criterion: Criterion
    operators: tuple[Operator, ...]
    kinds: tuple[OperatorKind, ...]
    tests: tuple[KernelTests, ...]
    bounds: tuple[Bound, ...]
    trace: Trace
    golden: Golden
    accuracy: tuple[Measured, ...]
    warnings: tuple[str, ...]
    not_shown: tuple[str, ...]
    sources: tuple[Source, ...]
    files: tuple[HashedFile, ...]
