"""A file of a profile: what it says of its ends, and that it is the plain file in other words."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from mptq_export.load.loaded import LoadedModel
from mptq_export.profile.check import refuse_broken_profile
from mptq_export.recipe.outputs import OutputKind
from mptq_export.recipe.settings import Settings
from mptq_export.report.profiled import Profiled
from mptq_export.runtime.graph_input import graph_input
from mptq_export.support.errors import MptqError
from mptq_export.verify.difference import Difference, difference
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph

_KINDS: dict[OutputKind, str] = {
    "logits": "scores of classes, [batch, class]; softmax makes probabilities of them",
    "embedding": "an embedding, [batch, number]; its direction counts",
    "map": "a feature map, [batch, channel, row, column]",
    "tokens": "features of tokens, [batch, token, channel]",
    "scores": "scores of candidates, [batch, candidate, class]; a sigmoid makes probabilities of them",
    "choices": "scores of candidates, [batch, candidate, class]; softmax makes probabilities of them, the last is none",
    "boxes": "boxes of candidates, [batch, candidate, coordinate]",
    "values": "values, the batch first",
}


def describe_ends(model: onnx.ModelProto, loaded: LoadedModel, settings: Settings) -> None:
    """Write into a file what its input and its outputs are: their doc strings."""
    preprocessing = loaded.preprocessing
    (entry,) = model.graph.input
    if loaded.takes_regions:
        entry.doc_string = "regions that the first stage cuts out of maps, [region, channel, row, column]; no NaN"
    elif settings.input_type == "uint8":
        entry.doc_string = "raw pixels from 0 to 255, [batch, row, column, channel]"
    else:
        entry.doc_string = (
            "pixels, [batch, channel, row, column]: from 0 to 1, less the mean "
            f"{list(preprocessing.mean)}, over the standard deviation {list(preprocessing.std)}; no NaN"
        )
    kinds = {each.name: each.kind for each in loaded.outputs}
    for output in model.graph.output:
        output.doc_string = _KINDS[kinds[output.name]]


def check_profiled(
    model: onnx.ModelProto, plain: onnx.ModelProto, path: Path, inputs: Iterable[NDArray[Any]], name: str
) -> Profiled:
    """Hold a file of a profile against the rules, and its tensors against those of the plain file.

    Both run in onnxruntime; all tensors that both have are compared, or the outputs alone where all are too many.

    Args:
        model: the file.
        plain: the model that it was written from, with its batch free.
        path: where the file lies, under a name of its own for now.
        inputs: batches in the type and shape of the file's input.
        name: of the file, for people.

    Raises:
        MptqError: a rule is broken that is no exception, or a value differs.
    """
    report = refuse_broken_profile(model)
    with tempfile.TemporaryDirectory() as folder:
        usual_path = Path(folder) / "plain.onnx"
        onnx.save(plain, usual_path)
        spelled, usual = open_runtime_graph(path), open_runtime_graph(usual_path)
    outputs = [output.name for output in model.graph.output]
    whole = spelled.instrumented is not None and usual.instrumented is not None
    names = {*outputs, *(set(spelled.readable) & set(usual.readable) if whole else ())}
    spec, found = graph_input(spelled.default), Difference()
    for batch in inputs:
        feed = {spec.name: spec.convert(batch)}
        got, expected = (graph.run_traced(feed) if whole else graph.run_default(feed) for graph in (spelled, usual))
        found = sum((difference(got[each], expected[each]) for each in names), found)
    if found.differing:
        raise MptqError(
            f"{name} was not written: {found.differing} of {found.values} values differ from those of the plain file; "
            "this is a defect, please report the model"
        )
    exceptions = {each.name: len(places) for each, places in report.exceptions.items()}
    return Profiled(report.profile, spec.batch(1), len(report.rules), exceptions, found)
