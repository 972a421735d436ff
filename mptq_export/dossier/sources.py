"""Where every part of a dossier comes from: its own table, by which a reader or a test finds each number again."""

from mptq_export.dossier.contents import Source

#: Path in `dossier.json` (`*` is any place of a list or name), and where it comes from. The longest that fits holds.
_SOURCES: tuple[tuple[str, str], ...] = (
    ("format", "this program: the version of this layout"),
    ("identity.file", "size and SHA-256 of the ONNX file"),
    ("identity.recipe", "size and SHA-256 of the recipe's files"),
    ("identity.parts", "computed now: parts of the file whose SHA-256 equals the list `contents` of the recipe"),
    ("identity.layers", "computed now: layers whose codes kernels_ref unpacked of the file, equal to the recipe's"),
    ("identity.ir_version", "ONNX file: ir_version"),
    ("identity.opset", "ONNX file: opset_import"),
    ("identity.checkpoint", "report.json: lineage.checkpoint, hashed at the export"),
    ("identity.calibration.images", "recipe: settings.calibration.images"),
    ("identity.calibration.files", "report.json: lineage.files, hashed at the export"),
    ("criterion.assumption.functions.*.of_result", "mptq_export/quantize/certification/assumption.py"),
    ("criterion.assumption.functions.*.of_argument", "mptq_export/quantize/certification/assumption.py"),
    ("criterion.assumption.functions.*.nodes", "ONNX file: nodes that compute the function"),
    ("criterion.assumption.division", "mptq_export/quantize/certification/assumption.py"),
    ("criterion.assumption.margin", "mptq_export/quantize/certification/boundaries.py"),
    ("criterion.assumption.smallest_margin", "recipe: the least of the margins in `proof`"),
    ("criterion.assumption.largest_share", "recipe: the largest of the assumed errors in `proof`"),
    ("criterion.assumption.arguments", "measured now: arguments of all functions, run in the installed onnxruntime"),
    ("criterion.checked", "report.json: check, of the comparison before the file appeared"),
    ("criterion.checked.kernels", "report.json: kernels, read of onnxruntime's optimised graph"),
    ("criterion.checked.float_matmuls", "report.json: kernels, those that multiply floats"),
    ("operators.*.number", "ONNX file: place of the node"),
    ("operators.*.version", "onnx: the version of the operator's definition in the file's opset"),
    ("operators.*.inputs.*.shape", "ONNX file: value_info and tensors"),
    ("operators.*.outputs.*.shape", "ONNX file: value_info and tensors"),
    ("operators.*.inputs.*.low", "computed now: intervals through the graph, from constants and types"),
    ("operators.*.inputs.*.high", "computed now: intervals through the graph, from constants and types"),
    ("operators.*.outputs.*.low", "computed now: intervals through the graph, from constants and types"),
    ("operators.*.outputs.*.high", "computed now: intervals through the graph, from constants and types"),
    ("operators.*.bounds", "recipe: places in `proof` of the claims about the operator's layer"),
    ("kinds.*.operators", "counted: operators of this kind"),
    ("tests.*.operators", "counted: operators that this kernel computes"),
    ("tests.*.tests.*.cases", "kernels_ref/coverage.json"),
    ("bounds.*.number", "recipe: place in `proof`"),
    ("bounds.*.value", "recipe: proof, value"),
    ("bounds.*.limit", "recipe: proof, limit"),
    ("trace.tensors.*.shape", "report.json: lineage.tensors"),
    ("trace.layers.*.sqnr_db", "report.json: lineage.weights, 10 log10(signal / noise)"),
    ("trace.layers.*.bits", "recipe: weights, bits"),
    ("trace.layers.*.shape", "recipe: weights, shape"),
    ("trace.quantizers", "recipe: activations"),
    ("trace.quantizers.*.regions", "recipe: activations, how many regions"),
    ("golden.inputs", "kit/manifest.json: inputs"),
    ("golden.tensors", "kit/manifest.json: shape and crc32 of the tensor"),
    ("accuracy.*.images", "the file in `source`: how many images"),
    ("accuracy.*.value", "the file in `source`"),
    ("accuracy.*.float_value", "the file in `source`: the float model's"),
    ("accuracy.*.low", "the file in `source`; of a share of mptq-eval computed from it and the number of images"),
    ("accuracy.*.high", "the file in `source`; of a share of mptq-eval computed from it and the number of images"),
    ("files", "size and SHA-256 of the files in this folder"),
)


def sources() -> tuple[Source, ...]:
    """All of them."""
    return tuple(Source(part, source) for part, source in _SOURCES)
