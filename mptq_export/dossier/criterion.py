"""The replication criterion: exact, under which preconditions, with which assumption, and how far from needing it."""

from collections import Counter
from collections.abc import Sequence

import onnx
import onnxruntime as ort

from mptq_export.dossier.contents import AssumedFunction, Assumption, Checked, Criterion
from mptq_export.emit.exact.proof import Quantity
from mptq_export.quantize.certification.assumption import DIVISION, assumed
from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.recipe.schema import Claim
from mptq_export.report.export_files import Export
from mptq_export.support.errors import MptqError
from mptq_export.targets.min_onnxruntime import OLDEST_KEY
from mptq_export.targets.preconditions import PRECONDITIONS_KEY
from mptq_export.verify.code_functions.exhaustive import run_tables
from mptq_export.verify.code_functions.functions import TRANSCENDENTAL, function_name
from mptq_export.verify.onnx_file import metadata_of

_STATEMENT = (
    "Exact replication. For every input that keeps the preconditions, each output that the runtime gives for this file "
    "equals, bit for bit, what kernels_ref gives for it: an interpreter in NumPy that was written from the ONNX "
    "specification, reads nothing but the file, and shares no code with the exporter. The codes in the file are those "
    "of the recipe, which names the float weights that they were chosen from."
)
_RUNTIME = (
    "onnxruntime on its CPU provider with default session options, any number of threads, any batch size, alone or "
    "beside other images. Other providers, options and runtimes are outside of the criterion"
)
_ASSUMPTION = (
    "One assumption is made about the runtime: for an argument x the float32 result of one of the functions below is "
    "wrong by at most (of_result * |f(x)| + of_argument * |x|). Each result that the codes of this file can give was "
    "computed in float64 at the export and lies further than that, with the division of QuantizeLinear, and further "
    "than the margin from every boundary between two codes, so that no runtime within the assumption gives another "
    "code. All else in the file is whole numbers, data movement, or operations on single elements that IEEE 754 "
    "rounds the same everywhere"
)
_NONE_ASSUMED = "No function in this file needs an assumption: all is whole numbers, movement, or IEEE 754 operations"


def criterion_of(export: Export, model: onnx.ModelProto) -> Criterion:
    """The criterion of an exact file.

    Args:
        export: its files.
        model: the file.

    Raises:
        MptqError: the installed onnxruntime gives a code of a function that is not the reference's.
    """
    metadata = metadata_of(model)
    return Criterion(
        statement=_STATEMENT,
        runtime=_RUNTIME,
        oldest_onnxruntime=metadata.get(OLDEST_KEY),
        preconditions=tuple(part.strip() for part in metadata.get(PRECONDITIONS_KEY, "").split(";") if part.strip()),
        assumption=_assumption(model, export.recipe.proof),
        checked=_checked(export),
    )


def _assumption(model: onnx.ModelProto, proof: Sequence[Claim]) -> Assumption:
    tables = run_tables(model)
    if tables.problem:
        raise MptqError(f"no dossier: {tables.problem}")
    nodes = Counter(function_name(node) for node in model.graph.node if node.op_type in TRANSCENDENTAL)
    functions = tuple(AssumedFunction(name, *assumed(name), count) for name, count in sorted(nodes.items()))
    margins = [claim.value for claim in proof if Quantity.MARGIN.is_of(claim)]
    shares = [claim.value for claim in proof if Quantity.ASSUMED_ERROR.is_of(claim)]
    return Assumption(
        statement=_ASSUMPTION if functions else _NONE_ASSUMED,
        functions=functions,
        division=DIVISION,
        margin=MARGIN,
        smallest_margin=min(margins, default=None),
        largest_share=max(shares, default=None),
        arguments=tables.arguments,
        onnxruntime=ort.__version__,
    )


def _checked(export: Export) -> Checked | None:
    check = None if export.evidence is None else export.evidence.check
    if check is None:
        return None
    kernels = export.kernels or ()
    return Checked(
        values=check.values,
        differing=check.differing,
        tensors=check.tensors,
        inputs={kind: count for kind, count in check.inputs.items() if count},
        batches=check.batches,
        outputs_only=check.outputs_only,
        kernels=dict(Counter(kernel.op for kernel in kernels)),
        float_matmuls=sum(kernel.kind == "float" for kernel in kernels),
    )
