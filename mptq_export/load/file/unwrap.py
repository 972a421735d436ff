"""Names of tensors without what a wrapper put before them, and the tensors that stand beside the model.

Training code holds the model as an attribute (`model.`, `net.`, `backbone.`), wraps it for parallel training or
compilation (`module.`, `_orig_mod.`, also inside names), averages it (`n_averaged` beside it), and keeps losses and
metrics next to it. A prefix is taken off only if everything that does not begin with it is of a kind that no model
computes with (`_BESIDE`), or another copy of the same tensors; else the names stay as stored, and whoever knows the
model's names says what does not fit.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

_INSIDE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
"""Parts of a name that torch.compile, FSDP, activation checkpointing and Fabric put anywhere into it."""
_AVERAGES = re.compile(r"(^|_)(ema|averaged?|avg)(_|\d*$)")
_FIRST = re.compile(rf"{_AVERAGES.pattern}|(^|_)teacher$")
"""What is taken of several copies: in training without labels a teacher is the average of its student."""
_WRAPPERS = re.compile(
    r"(model|net|network|backbone|module|student|wrapped|inner|base|core|_model|_module|_net)\d*"
    r"|(base|inner|online|student|main|my)_(model|net|network|encoder)|(vision|image|feature)_(backbone|extractor)"
)
"""What training code calls the model. None of them is the name of a part of one that has other parts."""
_ROOTS = ("patch_embed.proj.weight", "cls_token", "pos_embed", "conv_proj.weight", "features.0.0.weight")
"""Tensors that stand at the top of a vision transformer of timm or torchvision: what stands before is a prefix."""
_DEEPEST = 5
Group = dict[str, Tensor]
"""Tensors whose names begin alike, by the rest of their names."""


@dataclass(frozen=True)
class _Kind:
    """A kind of group of tensors.

    Attributes:
        word: the first part of their names.
        reason: why the model is the same without them.
        holds: whether the rest of its names, and all names, are as they must be.
    """

    word: re.Pattern[str]
    reason: str
    holds: Callable[[Collection[str], Collection[str]], bool] = lambda rest, all_names: True


_LOSSES = "criterion|criteria|loss|losses|loss_fn|loss_fct|metric|metrics|meter"
_SCORES = "acc|acc1|acc5|accuracy|auroc|auc|f1|precision|recall|kappa|confmat|confusion(_matrix)?|top1|top5"
_BESIDE = (
    _Kind(re.compile(rf"(.*_)?({_LOSSES}|{_SCORES})(_.*|\d+)?"), "a loss or a metric of training"),
    _Kind(
        re.compile("n_averaged|num_updates|decay|initted|(global_)?step"),
        "it counts steps of training",
        lambda rest, _: set(rest) == {""},
    ),
    _Kind(re.compile("dino_head|ibot_head"), "a projection head of pretraining without labels, not of the encoder"),
    _Kind(
        re.compile("head|projector"),
        "a projection head of pretraining without labels, not of the encoder",
        lambda rest, _: any(name.startswith(("last_layer.", "prototypes.")) for name in rest),
    ),
    _Kind(
        re.compile("(model_)?ema|ema_model"),
        "an average of the weights under names of its own",
        lambda rest, _: not any("." in name for name in rest),
    ),
    _Kind(
        re.compile("decoder"),
        "it rebuilds masked patches in pretraining, behind the encoder",
        lambda _, all_names: "encoder.mask_token" in all_names,
    ),
)
"""What may stand beside a model, in order; the first that matches counts."""


@dataclass(frozen=True)
class Unwrapped:
    """What is left.

    Attributes:
        tensors: without the prefix.
        prefix: what was taken off, with a dot at its end; empty for nothing. It has no part of `_INSIDE`.
        beside: tensors that are not under the prefix, by their stored names.
        notes: what they are, a sentence for each kind.
        copies: prefixes of other copies of the same tensors, which are in `beside`.
    """

    tensors: dict[str, Tensor]
    prefix: str = ""
    beside: dict[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    @property
    def averaged(self) -> bool:
        """Whether the prefix is that of an average over training steps."""
        return any(_AVERAGES.search(part) for part in self.prefix.split("."))


def unwrap(stored: Mapping[str, Tensor]) -> Unwrapped:
    """Take off what wrappers put before the names.

    Args:
        stored: tensors by name.
    """
    found = Unwrapped(_without_inside(stored))
    for _ in range(_DEEPEST):
        groups = _groups(found.tensors)
        word = _wrapper(groups)
        if word is None:
            break
        found = _taken_off(found, word, groups)
    return found


def unwrap_for(wanted: Collection[str], stored: Mapping[str, Tensor]) -> Unwrapped:
    """Take off any prefix under which a model's names stand, whatever it is called.

    Args:
        wanted: names of the model's tensors.
        stored: tensors by name, none of which need fit.
    """
    found = Unwrapped(dict(stored))
    known = set(wanted)
    for _ in range(_DEEPEST):
        groups = _groups(found.tensors)
        main = max(groups, key=lambda word: len(groups[word]))
        others = (_kind(word, groups) for word in groups if word != main)
        if known & found.tensors.keys() or "" in groups[main] or None in others:
            break
        found = _taken_off(found, main, groups)
    return found if known & found.tensors.keys() else Unwrapped(dict(stored))


def _without_inside(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {name: ".".join(part for part in name.split(".") if part not in _INSIDE) for name in stored}
    if len(set(names.values())) < len(names) or "" in names.values():
        return dict(stored)
    return {names[name]: tensor for name, tensor in stored.items()}


def _groups(tensors: Mapping[str, Tensor]) -> dict[str, Group]:
    """Tensors by the first part of their names, with what is left of these."""
    groups: dict[str, Group] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = tensor
    return groups


def _wrapper(groups: Mapping[str, Group]) -> str | None:
    """The first part of the names that can be taken off; None where nothing can."""
    candidates = [word for word, group in groups.items() if _is_wrapped(word, group)]
    first = [word for word in candidates if _FIRST.search(word)]
    main = (first if len(first) == 1 else candidates)[:1]
    if not main or (len(candidates) > 1 and len(first) != 1):
        return None
    others = [word for word in groups if word != main[0]]
    is_known = (_kind(word, groups) or _is_copy(groups[main[0]], groups[word]) for word in others)
    return main[0] if all(is_known) else None


def _is_wrapped(word: str, group: Group) -> bool:
    """Whether a group can be the model: it has parts of its own, and the name or what is under it says so."""
    firsts = {name.partition(".")[0] for name in group}
    if "" in firsts or not any("." in name for name in group) or all(first.isdigit() for first in firsts):
        return word == "module" and "" not in firsts
    named = _WRAPPERS.fullmatch(word) is not None or _FIRST.search(word) is not None
    return named or any(root in group for root in _ROOTS)


def _kind(word: str, groups: Mapping[str, Group]) -> _Kind | None:
    fitting = (kind for kind in _BESIDE if kind.word.fullmatch(word))
    names = {f"{first}.{rest}" for first, group in groups.items() for rest in group}
    return next((kind for kind in fitting if kind.holds(groups[word], names)), None)


def _is_copy(main: Group, other: Group) -> bool:
    """Whether a group has the tensors of another, wrapped or not."""
    shapes, others = ({name: tensor.shape for name, tensor in _bare(group).items()} for group in (main, other))
    return shapes == others


def _bare(group: Group) -> Group:
    while all(name.startswith("module.") for name in group):
        group = {name.removeprefix("module."): tensor for name, tensor in group.items()}
    return group


def _taken_off(found: Unwrapped, word: str, groups: Mapping[str, Group]) -> Unwrapped:
    """The tensors of one group, with what is said of the others."""
    prefix = found.prefix + word + "."
    beside = {name: tensor for name, tensor in found.tensors.items() if name.partition(".")[0] != word}
    others = {other: _kind(other, groups) for other in groups if other != word}
    notes = []
    for kind in dict.fromkeys(filter(None, others.values())):
        names = [found.prefix + name for name in beside if others[name.partition(".")[0]] is kind]
        more = f" and {len(names) - 1} more like it" if len(names) > 1 else ""
        notes.append(f"{names[0]}{more} left out: {kind.reason}")
    return Unwrapped(
        groups[word],
        prefix,
        {**found.beside, **{found.prefix + name: tensor for name, tensor in beside.items()}},
        (*found.notes, *notes),
        (*found.copies, *(found.prefix + other for other, kind in others.items() if kind is None)),
    )
