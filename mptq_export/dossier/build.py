"""A dossier of an export's files, as data."""

from collections import Counter
from collections.abc import Mapping, Sequence

import onnx

from mptq_export.dossier.accuracy import accuracy_of
from mptq_export.dossier.contents import FORMAT, KIND, Bound, CoveringTest, Dossier, KernelTests, Operator
from mptq_export.dossier.criterion import criterion_of
from mptq_export.dossier.golden import golden_of
from mptq_export.dossier.identity import identity_of
from mptq_export.dossier.not_shown import not_shown
from mptq_export.dossier.operators import kinds_of, operators_of
from mptq_export.dossier.sources import sources
from mptq_export.dossier.trace import trace_of
from mptq_export.kit.manifest import Manifest
from mptq_export.recipe.schema import Claim
from mptq_export.report.export_files import Export
from mptq_export.report.lineage import HashedFile
from mptq_export.support.version import __version__
from mptq_export.verify.coverage import coverage
from mptq_export.verify.origin import Origin


def build_dossier(
    export: Export,
    model: onnx.ModelProto,
    origin: Origin,
    kit: tuple[Manifest, str, str],
    files: Mapping[str, HashedFile],
) -> Dossier:
    """All that a dossier says.

    Args:
        export: what lies beside the ONNX file, read and checked.
        model: the file.
        origin: what holding it against the recipe gave; without problems.
        kit: the list of its golden values, what its inputs are, and its folder in that of the dossier.
        files: of the folder, by path.

    Raises:
        MptqError: `kernels_ref` cannot read the file, nothing is written of one of its ops, or the installed
            onnxruntime computes a function less accurately than is assumed.
    """
    bounds = _bounds(export.recipe.proof)
    operators = operators_of(model, export.recipe.contents, bounds, export.kernels or ())
    evidence, accuracy = export.evidence, export.accuracy
    told = (
        *(export.recipe.settings.calibration.warnings if evidence is None else evidence.warnings),
        *(() if accuracy is None else accuracy.warnings),
    )
    return Dossier(
        kind=KIND,
        format=FORMAT,
        made_by=f"mptq-export {__version__}",
        identity=identity_of(export, model, origin),
        criterion=criterion_of(export, model),
        operators=operators,
        kinds=kinds_of(operators),
        tests=_tests(operators),
        bounds=bounds,
        trace=trace_of(export, model),
        golden=golden_of(*kit),
        accuracy=accuracy_of(export),
        warnings=tuple(dict.fromkeys(told)),
        not_shown=not_shown(export),
        sources=sources(),
        files=tuple(files.values()),
    )


def _bounds(proof: Sequence[Claim]) -> tuple[Bound, ...]:
    return tuple(
        Bound(number, claim.layer, claim.what, claim.value, claim.relation, claim.limit)
        for number, claim in enumerate(proof, 1)
    )


def _tests(operators: Sequence[Operator]) -> tuple[KernelTests, ...]:
    """The tests of the kernels that compute the file."""
    counts = Counter(operator.kernel for operator in operators)
    return tuple(
        KernelTests(
            kernel,
            count,
            tuple(
                CoveringTest(name, test.kernels[kernel]) for name, test in coverage().items() if kernel in test.kernels
            ),
        )
        for kernel, count in sorted(counts.items())
    )
