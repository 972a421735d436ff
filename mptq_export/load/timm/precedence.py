"""What is said about a model and its input, by the user and by the checkpoint, in the order of who is believed.

An option of the user comes first, then the checkpoint (its `model_kwargs`, its `args`, its `pretrained_cfg`), then the
`config.json` beside it, then the configuration of the architecture, which `fit` and `preprocess` add. Where two of them
disagree, one line says whose word was taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.file.model_kwargs import check_model_kwargs
from mptq_export.load.file.train_args import SOURCE as ARGS
from mptq_export.load.inputs import PARTS, InputOptions, option_of, plain, shown
from mptq_export.load.timm.architecture import named_architecture
from mptq_export.load.timm.fit import Hint
from mptq_export.load.timm.hub_config import CONFIG_JSON, HubConfig
from mptq_export.load.timm.preprocess import Stated

KWARGS = "the checkpoint's model_kwargs"
CONFIG = "the checkpoint's pretrained_cfg"
OPTION = "option"
_SHAPES = ("num_classes", "in_chans", "img_size")
"""What tensors may show: a checkpoint's word for them is only a hint."""


@dataclass(frozen=True)
class Asked:
    """All that is said.

    Attributes:
        model_kwargs: arguments of `timm.create_model` that stand.
        givers: who gave each, for people.
        hints: what is said of classes, channels and size, the first to be believed.
        stated: what is said of normalising and resizing, the first to be believed first.
        notes: arguments that only `args` know, a sentence.
        warnings: where two disagree, a sentence each.
    """

    model_kwargs: dict[str, Any]
    givers: dict[str, str]
    hints: dict[str, Hint]
    stated: tuple[Stated, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def overrides(self) -> dict[str, Any]:
        """What is stated in one piece."""
        return {name: value for each in reversed(self.stated) for name, value in each.parts.items()}


def asked_of(
    checkpoint: Checkpoint,
    model_kwargs: Mapping[str, Any],
    inputs: InputOptions,
    arch: str | None = None,
    beside: HubConfig | None = None,
) -> Asked:
    """Put the words of user, checkpoint and configuration in order.

    Args:
        checkpoint: what was read.
        model_kwargs: the user's arguments for `timm.create_model`.
        inputs: the user's options about the input.
        arch: the user's architecture.
        beside: the configuration beside the checkpoint, where it is about this model.

    Raises:
        MptqError: two options contradict each other, or the checkpoint says what no model has.
    """
    args, path = checkpoint.args, checkpoint.path
    trained = {name: value for name, value in args.model_kwargs.items() if name not in model_kwargs}
    check_model_kwargs(path, trained, len(checkpoint.state_dict), "args")
    pool = checkpoint.pretrained_cfg.get("global_pool")
    config = {"global_pool": pool} if isinstance(pool, str) and pool else {}
    check_model_kwargs(path, config, len(checkpoint.state_dict), "pretrained_cfg")
    layers = [("--model-kwargs", model_kwargs), (KWARGS, checkpoint.model_kwargs), (ARGS, trained), (CONFIG, config)]
    layers += [(beside.source, beside.model_args)] if beside else []
    given = inputs.given()
    warnings = [*args.warnings]
    known = named_architecture(checkpoint)
    if arch is not None and known is not None and timm.is_model(known):
        # A tag behind the name says which weights they are, not another architecture.
        named, stored = (name.partition(".")[0] for name in (arch, known))
        warnings += _conflicts("arch", "--arch", named, [("the checkpoint", stored)])
    hints: dict[str, Hint] = {}
    for name in ("img_size", "in_chans"):
        if name in given:
            hints[name] = Hint(given[name], option_of(name), stands=True)
            others = [(source, layer[name]) for source, layer in layers[1:] if name in layer]
            warnings += _conflicts(name, option_of(name), given[name], others)
    kwargs: dict[str, Any] = {}
    givers: dict[str, str] = {}
    for source, layer in layers:
        for name, value in layer.items():
            if name in hints:
                continue
            if name in kwargs:
                warnings += _conflicts(name, givers[name], kwargs[name], [(source, value)])
            kwargs.setdefault(name, value)
            givers.setdefault(name, source)
    for name in _SHAPES:
        hint = None if name in hints or name in kwargs else _hint(name, checkpoint, beside)
        hints |= {name: hint} if hint else {}
    only = {name: value for name, value in trained.items() if name not in checkpoint.model_kwargs}
    notes = [f"{_listed(only)} of {ARGS}"] if only else []
    if beside:
        taken = {name: value for name, value in beside.model_args.items() if givers.get(name) == beside.source}
        notes += [f"{_listed(taken)} of {beside.source}"] if taken else []
    warnings += beside.warnings if beside else ()
    stated, conflicts = _stated(checkpoint, given, beside)
    return Asked(kwargs, givers, hints, stated, tuple(notes), (*warnings, *conflicts, *_training(checkpoint)))


def _hint(name: str, checkpoint: Checkpoint, beside: HubConfig | None) -> Hint | None:
    """What checkpoint or configuration say of classes, channels or size; None where they do not."""
    args = checkpoint.args
    said = args.img_size if name == "img_size" else args.number_of(name)
    if said is not None:
        return Hint(said, ARGS)
    if name == "num_classes":
        return Hint(beside.num_classes, beside.source) if beside and beside.num_classes is not None else None
    known = [(CONFIG, checkpoint.pretrained_cfg), *([(beside.source, beside.pretrained_cfg)] if beside else [])]
    for source, config in known:
        size = _config_size(config)
        if size is not None:
            return Hint(size[0] if name == "in_chans" else size[1:], source)
    return None


def _stated(
    checkpoint: Checkpoint, given: Mapping[str, Any], beside: HubConfig | None
) -> tuple[tuple[Stated, ...], list[str]]:
    args, config = checkpoint.args, checkpoint.pretrained_cfg
    other, source_of_other = (beside.pretrained_cfg, beside.source) if beside else ({}, CONFIG_JSON)
    options = {part: given[part] for part in PARTS if part in given}
    # What an option overrules is not even looked at: that is how a user gets past a damaged checkpoint.
    trained = {part: value for part in PARTS if part not in options and (value := args.part(part)) is not None}
    stored = {part: config[part] for part in PARTS if part not in options and config.get(part)}
    kept = {part: other[part] for part in PARTS if part not in options and other.get(part)}
    conflicts: list[str] = []
    for part in (*trained, *(part for part in stored if part not in trained)):
        told = [(ARGS, trained.get(part)), (CONFIG, stored.get(part)), (source_of_other, kept.get(part))]
        (source, value), *others = [(source, value) for source, value in told if value]
        conflicts += _conflicts(part, source, value, others)
    for part, value in options.items():
        known = [(ARGS, args.flag(part)), (CONFIG, config.get(part)), (source_of_other, other.get(part))]
        conflicts += _conflicts(part, option_of(part), value, [(source, other) for source, other in known if other])
    every = (Stated(OPTION, options), Stated(ARGS, trained), Stated(CONFIG, stored), Stated(source_of_other, kept))
    return tuple(each for each in every if each.parts), conflicts


def _training(checkpoint: Checkpoint) -> list[str]:
    """What of the training cannot be done for the user."""
    args, warnings = checkpoint.args, []
    if args.flag("model_ema") is True and not checkpoint.averaged:
        warnings.append(
            f"{ARGS} say that an average of the weights was kept (model_ema), but the file holds none: the "
            "weights of the last step were taken"
        )
    if checkpoint.class_map is not None:
        warnings.append(
            f"trained with --class-map {checkpoint.class_map[:200]}: the logits are numbered as that file says; "
            "give it with --class-map, else folders do not name the classes"
        )
    mode = args.flag("input_img_mode")
    if isinstance(mode, str) and mode not in ("RGB", "L"):
        warnings.append(
            f"trained with --input-img-mode {mode[:40]}: pictures are read as RGB or grey here; give arrays"
        )
    return warnings


def _config_size(config: Mapping[str, Any]) -> tuple[int, int, int] | None:
    size = config.get("input_size")
    if isinstance(size, list | tuple) and len(size) == 3 and all(type(n) is int and 0 < n <= 2**14 for n in size):
        return size[0], size[1], size[2]
    return None


def _conflicts(name: str, taken: str, value: Any, others: list[tuple[str, Any]]) -> list[str]:
    return [
        f"{name}: {shown(value)} of {taken} is taken, not {shown(other)} of {source}"
        for source, other in others
        if plain(name, value) != plain(name, other)
    ]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in list(values.items())[:8])
