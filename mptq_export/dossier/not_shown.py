"""What a dossier does not show: what nobody measured, and what the method cannot say."""

from collections.abc import Iterator

from mptq_export.recipe.store import recipe_paths
from mptq_export.report.accuracy import accuracy_path
from mptq_export.report.export_files import Export

_NEVER = (
    "That the float model is right, or safe to use for any purpose: the criterion is about the file and the model that "
    "it was made from, not about what they are used for.",
    "That the file decides as the float model does on every image: it is exact to its own arithmetic, and near the "
    "float model as far as the figures of accuracy say, on the images that they name.",
    "How a picture becomes the input on the device (decoding, colours, resizing, cropping): the metadata says how it "
    "must be done, and the criterion begins at the input.",
    "Another execution provider, other session options or another runtime than the criterion names, or that "
    "onnxruntime, the compiler and the CPU are free of defects: the comparison, the functions that were run and the "
    "golden values would show many of them, and no finite number of inputs shows all.",
    "Who wrote these files: hashes tie them to each other, and nothing is signed.",
    "Memory, timing and what happens when the process is disturbed.",
    "A certification of any kind: this document is material for an argument, which its readers have to make.",
)


def not_shown(export: Export) -> tuple[str, ...]:
    """What the dossier of an exact file does not show, a sentence each; what could be measured first."""
    return (*_missing(export), *_NEVER)


def _missing(export: Export) -> Iterator[str]:
    name, evidence = export.name, export.evidence
    recipe = recipe_paths(export.onnx)[0].name
    if export.accuracy is None:
        yield (
            f"Accuracy on images of your own: `mptq-eval {name} --data VAL --float MODEL --json "
            f"{accuracy_path(export.onnx).name}` measures it; then `mptq-report {name} --dossier DIR --force`."
        )
    elif export.accuracy.images_sha256 is None:
        yield f"On which images accuracy was measured: {accuracy_path(export.onnx).name} is of an older version."
    if evidence is None or evidence.check is None:
        yield (
            f"How many values were compared before the file appeared: that was not recorded beside it; "
            f"`mptq-verify {name} --recipe {recipe}` compares them."
        )
    if evidence is None or evidence.lineage is None:
        yield (
            "The files of the checkpoint, the calibration inputs, and the way of each trained tensor through the "
            f"rewrites: the export was made without --dossier; `mptq-export MODEL --recipe {recipe} -o {name} --force "
            "--dossier DIR` follows the tensors, an export with --calib the inputs too."
        )
    elif evidence.lineage.inputs == 0:
        yield (
            "On which inputs the codes were chosen, by their hash: this file was made from a recipe, and the export "
            "that wrote that one was made without --dossier."
        )
    elif not evidence.lineage.files:
        yield "Files of the calibration inputs: they were not read of one file an input; their values are hashed."
    if evidence is not None and evidence.lineage is not None and not evidence.lineage.checkpoint:
        yield "A checkpoint file: a library or a program made the float model; its values are hashed."
