"""Which model is asked for; `doors.py` says what is refused of it before anything heavy is imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mptq_export.load.inputs import InputOptions, check_options
from mptq_export.recipe.outputs import OutputKind


@dataclass(frozen=True)
class ModelRequest:
    """What the user says of a model.

    Attributes:
        name: path of a checkpoint or of a folder with one, `timm:NAME`, `hf-hub:OWNER/NAME`, or `package.module:name`
            of something that makes a module.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`.
        trust: unpickle a whole module (this runs code from the file).
        inputs: how images become the input, where the user says it.
        features: give these feature maps instead of the logits, by the library's numbers
            (see `LoadedModel.with_features`); None: its own outputs.
        outputs: names of those of its outputs that it shall give, in this order; None: all.
        kinds: of outputs of a module that no library knows, by their names, or the kind of its only one.
        base: folder of the model that an adapter changes (see `load/transformers/adapter.py`).

    Raises:
        MptqError: two options say different things of the input.
    """

    name: str
    arch: str | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    inputs: InputOptions = field(default_factory=InputOptions)
    features: tuple[int, ...] | None = None
    outputs: tuple[str, ...] | None = None
    kinds: Mapping[str, OutputKind] | OutputKind | None = None
    base: str | None = None

    def __post_init__(self) -> None:
        check_options(self.model_kwargs, self.inputs)

    def words(self) -> tuple[str, ...]:
        """The same as options of a command line, but for the name and the feature maps, which a recipe knows."""
        outputs = ["--outputs", ",".join(self._named())] if self._named() else []
        *first, trust = self._said()
        return (*(word for words in first for word in words), *outputs, *self.inputs.words(), *trust)

    def float_words(self) -> tuple[str, ...]:
        """The same as the options of a command that takes it as `--float`."""
        return ("--float", self.name, *(word for words in self._said() for word in words))

    def _said(self) -> list[list[str]]:
        """What every command can be told of a model."""
        return [
            ["--arch", self.arch] if self.arch else [],
            ["--model-kwargs", json.dumps(dict(self.model_kwargs))] if self.model_kwargs else [],
            ["--base", self.base] if self.base else [],
            ["--trust"] if self.trust else [],
        ]

    def _named(self) -> list[str]:
        """The outputs as a command line names them: `NAME`, or `NAME=KIND`."""
        if isinstance(self.kinds, str):
            return [self.kinds]
        kinds = self.kinds or {}
        names = self.outputs or tuple(kinds)
        return [f"{name}={kinds[name]}" if name in kinds else name for name in names]
