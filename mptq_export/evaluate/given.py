"""What a file gives, and what of it can be measured without its float model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from mptq_export.load.outputs import OUTPUTS_KEY, outputs_of
from mptq_export.recipe.outputs import Output, OutputKind
from mptq_export.support.errors import MptqError

_MEASURED = {
    "logits": "agreement, KL divergence and cosine",
    "embedding": "cosine and nearest neighbours",
}


@dataclass(frozen=True)
class Given:
    """What a file gives.

    Attributes:
        outputs: all of it, in order, by the names of the ONNX outputs.
        chosen: their names, where the file says them: a float model may have more.
        classes: how many logits there are; None where there are none, or their shape does not say.
    """

    outputs: tuple[Output, ...]
    chosen: tuple[str, ...] | None
    classes: int | None

    @classmethod
    def by(cls, metadata: Mapping[str, str], session: ort.InferenceSession) -> "Given":
        """What the metadata says of a file. Of another program's file the first output is logits.

        Raises:
            MptqError: it is damaged.
        """
        outputs, told = outputs_of(metadata), OUTPUTS_KEY in metadata
        if not told and [each.kind for each in outputs] == ["logits"]:
            outputs = (Output(session.get_outputs()[0].name, "logits"),)
        named = next((each.name for each in outputs if each.kind == "logits"), None)
        shape = next((entry.shape for entry in session.get_outputs() if entry.name == named), None)
        classes = shape[-1] if shape and isinstance(shape[-1], int) else None
        return cls(outputs, tuple(each.name for each in outputs) if told else None, classes)

    @property
    def kinds(self) -> dict[str, OutputKind] | None:
        """Kinds by names, where the file says them: a module of the user's own does not."""
        return None if self.chosen is None else {each.name: each.kind for each in self.outputs}

    @property
    def classifies(self) -> bool:
        """Whether it gives logits."""
        return any(each.kind == "logits" for each in self.outputs)

    def check_beside(self, model: Path, floating: tuple[Output, ...]) -> None:
        """Refuse a float model that gives something else.

        Args:
            model: the file.
            floating: what the float model gives.

        Raises:
            MptqError: it has other outputs, or outputs of other kinds.
        """
        kinds, others = ([each.kind for each in outputs] for outputs in (self.outputs, floating))
        if kinds != others:
            ours, theirs = (", ".join(each.name for each in outputs) for outputs in (self.outputs, floating))
            raise MptqError(
                f"{model} gives {ours}, the float model {theirs}: they are not the same model; name the checkpoint "
                "that was exported, with the --model-kwargs of then"
            )

    def check_alone(self, model: Path, data: Path, *, labelled: bool) -> None:
        """Refuse a file of which nothing can be said without its float model.

        Args:
            model: the file.
            data: the images.
            labelled: whether they lie in class folders.

        Raises:
            MptqError: no output has anything to do with classes, or the images have none.
        """
        kinds = [each.kind for each in self.outputs]
        kind = next((kind for kind in _MEASURED if kind in kinds), None)
        if kind is not None and labelled:
            return
        named = ", ".join(each.name for each in self.outputs)
        if kind is None:
            raise MptqError(
                f"{model} gives {named}, there is nothing to classify; name the float model with --float to compare "
                "with what it gives"
            )
        raise MptqError(
            f"the images of {data} lie in no class folders, so nothing can be said of {named} alone; name the float "
            f"model with --float ({_MEASURED[kind]}), or a folder with a folder a class"
        )
