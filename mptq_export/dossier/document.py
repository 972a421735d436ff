"""The layout of a dossier: headings, sentences and tables of text, which HTML and PDF show alike.

All numbers become text here, by `number`, and nothing is computed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mptq_export.dossier.contents import Dossier, Measured, Operand, Operator
from mptq_export.report.lineage import HashedFile

#: From here on a number stands with an exponent.
_LARGE, _SMALL, _DIGITS = 1e9, 1e-3, 6
#: Whole numbers below it stand with all of their digits.
_WHOLE = 1e16
#: Figures of accuracy that stand in front.
_FIRST = 3


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        head: of the columns.
        rows: a text a column; it may have several lines.
        widths: of the columns, relative to each other.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Section:
    """A part of the document.

    Attributes:
        title: its heading.
        blocks: sentences and tables, in order; a list of sentences is a list with a point before each.
    """

    title: str
    blocks: tuple[str | Table | tuple[str, ...], ...] = field(default=())


def number(value: float | None) -> str:
    """A number as the document shows it: whole ones in groups of three, others with six digits."""
    if value is None:
        return "-"
    if isinstance(value, int) or (value.is_integer() and abs(value) < _WHOLE):
        return f"{int(value):,}"
    if math.isfinite(value) and (abs(value) >= _LARGE or abs(value) < _SMALL):
        return f"{value:.{_DIGITS - 1}e}"
    return f"{value:.{_DIGITS}g}"


def title_of(dossier: Dossier) -> str:
    """The title of the document."""
    return f"Dossier of {dossier.identity.file.name}"


def sections_of(dossier: Dossier) -> tuple[Section, ...]:
    """The whole document."""
    return (
        Section("In short", tuple(_short(dossier))),
        Section("Identity", tuple(_identity(dossier))),
        Section("Replication criterion", tuple(_criterion(dossier))),
        Section(
            "What is not shown", (dossier.not_shown, *(("Warnings:", dossier.warnings) if dossier.warnings else ()))
        ),
        Section("Accuracy", tuple(_accuracy(dossier))),
        Section("From trained tensors to codes", tuple(_trace(dossier))),
        Section("How operators compute", tuple(_kinds(dossier))),
        Section("Operators of the graph", tuple(_operators(dossier))),
        Section("Tests of the reference", tuple(_tests(dossier))),
        Section("Bounds and margins", tuple(_bounds(dossier))),
        Section("Golden values", tuple(_golden(dossier))),
        Section("Files", tuple(_all_files(dossier))),
        Section("Where everything comes from", tuple(_sources(dossier))),
    )


Blocks = Iterator[str | Table | tuple[str, ...]]


def _short(dossier: Dossier) -> Blocks:
    criterion, checked = dossier.criterion, dossier.criterion.checked
    compared = "not recorded" if checked is None else f"{number(checked.differing)} of {number(checked.values)}"
    trained = dossier.trace.tensors
    rows = [
        ("file", f"{dossier.identity.file.name}, SHA-256 {dossier.identity.file.sha256}"),
        (
            "replication criterion",
            "exact: the same bits as the reference, for every input that keeps the preconditions",
        ),
        ("values that differ from the reference", compared),
        ("bounds and margins proved", number(len(dossier.bounds))),
        (
            "smallest margin, in steps",
            f"{number(criterion.assumption.smallest_margin)} (at least {number(criterion.assumption.margin)})",
        ),
        ("operators", number(len(dossier.operators))),
        ("trained tensors followed to their codes", number(len(trained)) if trained else "not traced"),
        *(
            (
                f"{each.what} of {each.output}",
                f"{number(each.value)} ({_interval(each)}) on {number(each.images)} images",
            )
            for each in dossier.accuracy[:_FIRST]
        ),
        ("not shown", "see part 4, which is as much a part of the argument as the rest"),
    ]
    yield Table(("what", "value"), tuple(rows), (1, 3))


def _interval(figure: Measured) -> str:
    return "no interval" if figure.low is None else f"95 %: {number(figure.low)} to {number(figure.high)}"


def _identity(dossier: Dossier) -> Blocks:
    identity = dossier.identity
    yield (
        f"Written by {dossier.made_by} from the files of the export. What is said here of the ONNX file holds for the "
        "file with this SHA-256 and for no other."
    )
    calibration = identity.calibration
    facts = [
        ("model", f"{identity.model} ({identity.model_source}), {identity.library}"),
        ("arguments", identity.model_arguments),
        ("weights, SHA-256", identity.weights_sha256),
        ("parts, SHA-256", identity.contents_sha256),
        (
            "held against the recipe now",
            f"{number(identity.parts)} parts and the codes of {number(identity.layers)} layers; none differs",
        ),
        ("calibrated on", calibration.description),
        ("calibration inputs", number(calibration.images)),
        ("inputs, SHA-256", calibration.inputs_sha256 or "not known"),
        ("ONNX", f"IR version {identity.ir_version}, opset {identity.opset}"),
        ("made with", _pairs(identity.versions)),
        ("measured with", _pairs(identity.measured_with) or "not known"),
        ("the same again", identity.command or "not known"),
    ]
    yield Table(("what", "value"), tuple(facts), (1, 4))
    yield "Files:"
    yield _files((identity.file, *identity.recipe, *identity.checkpoint))
    yield "What the file says of itself:"
    yield Table(("metadata", "value"), tuple(identity.metadata.items()), (1, 3))


def _all_files(dossier: Dossier) -> Blocks:
    yield "The folder of this dossier, but for the document itself:"
    yield _files(dossier.files)
    if dossier.identity.calibration.files:
        yield "Images that were calibrated on, in order:"
        yield _files(dossier.identity.calibration.files)


def _files(files: Iterable[HashedFile]) -> Table:
    rows = tuple((file.name, number(file.size), file.sha256) for file in files)
    return Table(("file", "bytes", "SHA-256"), rows, (2, 1, 3))


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _criterion(dossier: Dossier) -> Blocks:
    criterion, assumption = dossier.criterion, dossier.criterion.assumption
    yield criterion.statement
    rows = [
        ("runtime", criterion.runtime),
        ("oldest onnxruntime that opens the file", criterion.oldest_onnxruntime or "not known"),
        *(("precondition", each) for each in criterion.preconditions),
    ]
    yield Table(("what", "value"), tuple(rows), (1, 4))
    yield assumption.statement + "."
    if assumption.functions:
        functions = tuple(
            (each.function, number(each.of_result), number(each.of_argument), number(each.nodes))
            for each in assumption.functions
        )
        yield Table(("function", "of_result", "of_argument", "nodes"), functions, (1, 1, 1, 1))
        yield Table(
            ("margin", "value"),
            (
                ("least distance to a boundary that is allowed, in steps", number(assumption.margin)),
                ("least distance in this file, in steps", number(assumption.smallest_margin)),
                ("largest share of a distance that the assumed error takes", number(assumption.largest_share)),
                ("share that the division of QuantizeLinear may round away", number(assumption.division)),
                (
                    f"arguments that onnxruntime {assumption.onnxruntime} ran now, each with the right code",
                    number(assumption.arguments),
                ),
            ),
            (3, 1),
        )
    checked = criterion.checked
    if checked is not None:
        yield "Before the file appeared, onnxruntime was compared with kernels_ref, bit by bit:"
        yield Table(
            ("what", "value"),
            (
                ("values that differ", f"{number(checked.differing)} of {number(checked.values)}"),
                ("tensors", number(checked.tensors)),
                ("inputs", ", ".join(f"{number(count)} {kind}" for kind, count in checked.inputs.items())),
                ("batches of", ", ".join(map(number, checked.batches))),
                ("inputs of which the outputs alone were compared", number(checked.outputs_only)),
                ("matmuls", ", ".join(f"{number(count)} {op}" for op, count in checked.kernels.items())),
                ("matmuls in float", number(checked.float_matmuls)),
            ),
            (1, 2),
        )


def _accuracy(dossier: Dossier) -> Blocks:
    if not dossier.accuracy:
        yield "Not measured; see what is not shown."
        return
    rows = tuple(
        (
            each.output,
            each.what,
            number(each.value),
            "-" if each.low is None else f"{number(each.low)} to {number(each.high)}",
            number(each.float_value),
            number(each.images),
            f"{each.on} ({each.source})" + ("" if each.images_sha256 is None else f", SHA-256 {each.images_sha256}"),
            each.interval,
        )
        for each in dossier.accuracy
    )
    head = ("output", "figure", "value", "at 95 %", "float", "images", "which", "interval")
    yield Table(head, rows, (1, 2, 1, 1.5, 1, 1, 3, 2))


def _trace(dossier: Dossier) -> Blocks:
    trace = dossier.trace
    if trace.tensors:
        yield (
            "Every tensor of the float model, and the constants of the rewritten graph that are computed from it "
            "(rewrites keep the function; they move gains, offsets and means between neighbours):"
        )
        rows = tuple(
            (each.name, each.dtype, _shape(each.shape), each.sha256, ", ".join(each.reaches) or "nothing: not read")
            for each in trace.tensors
        )
        yield Table(("tensor", "type", "shape", "SHA-256", "reaches"), rows, (2, 0.8, 1, 2.5, 3))
    yield (
        "Layers with weights. Codes are chosen from the float weights behind the rewrites, by their error on the "
        "calibration inputs; balanced attention multiplies q and k of a head, and v and the projection, by a matrix "
        "and its inverse before. The distance in decibels is between these float weights and codes times scale, with "
        "what calibration corrected on purpose. The codes of the file were unpacked and equal those of the recipe:"
    )
    layers = tuple(
        (
            each.layer,
            ", ".join(each.trained) or "not traced",
            each.rewritten_sha256 or "not traced",
            number(each.sqnr_db),
            f"{each.bits} bits, {each.form}, {_shape(each.shape)}",
            each.sha256,
            each.reason,
        )
        for each in trace.layers
    )
    head = ("layer", "trained tensors", "float weights, SHA-256", "dB", "codes", "codes and scales, SHA-256", "why")
    yield Table(head, layers, (1.5, 2, 2, 0.7, 1.2, 2, 2))
    yield "Constants of the file that hold them:"
    stored = tuple((each.layer, tensor.name, tensor.sha256) for each in trace.layers for tensor in each.stored)
    yield Table(("layer", "constant", "SHA-256 in the recipe"), stored, (1.5, 2, 3))
    yield "Quantizers of activations, x = (code - zero point) * scale:"
    quantizers = tuple(
        (
            each.site,
            number(each.bits),
            number(each.scale),
            number(each.zero_point),
            f"{number(each.low)} to {number(each.high)}",
            number(each.regions),
            each.reason,
        )
        for each in trace.quantizers
    )
    head = ("site", "bits", "scale", "zero point", "codes", "regions", "why")
    yield Table(head, quantizers, (2.5, 0.5, 1, 1, 1, 0.8, 3))


def _shape(shape: Sequence[int | str | None] | None) -> str:
    if shape is None:
        return "?"
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"


def _kinds(dossier: Dossier) -> Blocks:
    rows = tuple((each.key, number(each.operators), each.rounding, each.overflow) for each in dossier.kinds)
    yield Table(("kind", "operators", "rounding", "overflow"), rows, (1, 1, 4, 4))


def _operators(dossier: Dossier) -> Blocks:
    yield (
        "In the order of the file. After the name of an operator stands the version of its definition; attributes in "
        "parentheses have their default value. Every tensor stands with type, shape and the least and the greatest "
        "value that it can have, whatever the input. Bounds are numbers of the list of bounds."
    )
    head = ("", "name", "operator", "reads", "makes", "kind", "kernel", "bounds")
    rows = tuple(map(_operator, dossier.operators))
    yield Table(head, rows, (0.6, 2, 2, 4, 3, 1.2, 1.6, 1))


def _operator(operator: Operator) -> tuple[str, ...]:
    attributes = "; ".join(
        f"({each.name} {each.value})" if each.default else f"{each.name} {each.value}" for each in operator.attributes
    )
    domain = "" if operator.domain == "ai.onnx" else f" of {operator.domain}"
    ran = f", ran as {operator.runtime_kernel}" if operator.runtime_kernel else ""
    return (
        str(operator.number),
        operator.name,
        f"{operator.op} {operator.version}{domain}" + (f": {attributes}" if attributes else ""),
        "\n".join(map(_operand, operator.inputs)),
        "\n".join(map(_operand, operator.outputs)),
        operator.kind,
        operator.kernel + ran,
        ", ".join(map(str, operator.bounds)),
    )


def _operand(operand: Operand) -> str:
    if not operand.name:
        return "left out"
    constant = "constant " if operand.constant else ""
    return f"{operand.name}: {constant}{operand.type} {_shape(operand.shape)}, {_ends(operand)}"


def _ends(operand: Operand) -> str:
    if operand.low is None and operand.high is None:
        return "no bound"
    if operand.low == operand.high:
        return number(operand.low)
    return f"{number(operand.low)} to {number(operand.high)}"


def _tests(dossier: Dossier) -> Blocks:
    yield (
        "For every kernel that computes operators of this file in kernels_ref, the tests that run it to its end, and "
        "in how many of their cases. `pytest tests/kernels_ref/FILE::FUNCTION` runs one; most compare with onnxruntime "
        "bit by bit."
    )
    rows = tuple(
        (
            each.kernel,
            number(each.operators),
            ", ".join(f"{test.test.removeprefix('tests/kernels_ref/')} ({number(test.cases)})" for test in each.tests),
        )
        for each in dossier.tests
    )
    yield Table(("kernel", "operators", "tests, in tests/kernels_ref"), rows, (1, 0.6, 6))


def _bounds(dossier: Dossier) -> Blocks:
    rows = tuple(
        (str(each.number), each.layer, each.what, number(each.value), each.relation, number(each.limit))
        for each in dossier.bounds
    )
    yield Table(("", "layer", "what", "value", "must be", "limit"), rows, (0.5, 2, 3, 1, 0.8, 1))


def _golden(dossier: Dossier) -> Blocks:
    golden = dossier.golden
    yield (
        f"{number(golden.inputs)} inputs ({golden.origin}) with what kernels_ref computes for them; onnxruntime gave "
        "the same bits before they were written. The folder kit/ has runners that compare a device with them: see its "
        "README.md. CRC-32 is over the values of each input, little endian, in C order."
    )
    rows = tuple(
        (
            each.role,
            each.name,
            f"{each.dtype} {_shape(each.shape)}",
            ", ".join(f"{check:08x}" for check in each.crc32),
            each.file or "-",
            each.sha256 or "-",
        )
        for each in golden.tensors
    )
    yield Table(("role", "tensor", "values", "CRC-32 of each input", "file", "SHA-256"), rows, (0.7, 2, 1.5, 1.5, 2, 2))


def _sources(dossier: Dossier) -> Blocks:
    yield "Paths are those of dossier.json, which holds the same as this document. report.json is NAME.report.json."
    yield Table(("part", "source"), tuple((each.part, each.source) for each in dossier.sources), (2, 3))
