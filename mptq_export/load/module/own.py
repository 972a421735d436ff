"""Any module as a `LoadedModel`: its input as it is said, its outputs as it names them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from mptq_export.load.forward import with_forward
from mptq_export.load.loaded import LoadedModel, inference_ready
from mptq_export.load.module.inputs import own_input
from mptq_export.load.module.kinds import SaidKinds, kinds_of
from mptq_export.load.module.named import ALONE, give_named
from mptq_export.load.module.run_once import Returned, run_once
from mptq_export.load.outputs import Output, chosen
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.outputs import AXES, OutputKind
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Own:
    """A module and where it comes from.

    Attributes:
        module: the user's; it is not changed.
        arch_source: who gave it, for people.
        stated: what is said of its input beside it, in timm's terms.
        stated_by: who says that, for people.
        class_names: names of its logits, if they are known.
        weights: where the weights come from, for people.
        name: of its architecture; None for its class.
    """

    module: nn.Module
    arch_source: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    stated_by: str = ""
    class_names: tuple[str, ...] | None = None
    weights: str = "given with the model"
    name: str | None = None


def load_own(own: Own, asked: ModelRequest) -> LoadedModel:
    """The module with what is known of it; the user's own stays as it is.

    Raises:
        MptqError: options do not go with a module, nobody says what its images are, it needs more than pixels, or what
            it gives cannot be exported.
    """
    what = type(own.module).__name__
    check_built(asked)
    if isinstance(own.module, torch.jit.ScriptModule):
        raise MptqError(
            f"{asked.name} is a TorchScript module, which cannot be captured; give the module that it was made from"
        )
    found = own_input(what, asked.inputs, own.stated, own.stated_by)
    module, told = unwrapped(own.module)
    model = copied(module)
    returned = run_once(model, found.preprocessing.input_size)
    outputs, names, notes = _outputs(model, returned, asked, classes=own.class_names is not None)
    model = with_forward(model, partial(partial, give_named, names, returned.argument))
    class_names = _fitting(own.class_names, outputs, [returned.leaves[name] for name in names])
    return LoadedModel(
        model=model,
        arch=own.name or type(module).__name__,
        model_kwargs={},
        arch_source=own.arch_source,
        preprocessing=found.preprocessing,
        class_names=class_names,
        notes=(*told, *notes),
        asked=asked,
        weights=own.weights,
        input_sources=found.sources,
        outputs=outputs,
        library="module",
    )


def check_built(asked: ModelRequest) -> None:
    """Refuse options for a model that is still to be built.

    Raises:
        MptqError: there are some.
    """
    for option, said in (("--arch", asked.arch), ("--model-kwargs", asked.model_kwargs)):
        if said:
            raise MptqError(f"{asked.name} is a module, built already; leave {option} out")


def unwrapped(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """What lies in a wrapper of training or compilation, and what to tell of it."""
    notes: list[str] = []
    while True:
        name = type(module).__name__
        inner = {
            "DataParallel": "module",
            "DistributedDataParallel": "module",
            "AveragedModel": "module",
            "OptimizedModule": "_orig_mod",
        }
        if not type(module).__module__.startswith("torch.") or name not in inner:
            return module, tuple(notes)
        notes.append(f"the module in {name} is taken")
        module = getattr(module, inner[name])


def copied(module: nn.Module) -> nn.Module:
    """A copy that is ready to be captured.

    Raises:
        MptqError: it cannot be copied.
    """
    try:
        return inference_ready(copy.deepcopy(module))
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MptqError(
            f"{type(module).__name__} cannot be copied ({first}); remove what keeps computed tensors in it, such as "
            "torch.nn.utils.weight_norm (remove_weight_norm)"
        ) from error


def _outputs(
    model: nn.Module, returned: Returned, asked: ModelRequest, *, classes: bool
) -> tuple[tuple[Output, ...], tuple[str, ...], tuple[str, ...]]:
    """What is exported: outputs, their names in what the module returns, and what to tell of them."""
    said = SaidKinds(asked.kinds if isinstance(asked.kinds, Mapping) else {}, _only(asked), classes)
    names = list(returned.leaves)
    if names == [ALONE]:
        return _alone(model, returned, asked, said)
    if said.only is not None:
        raise MptqError(
            f"{said.only} is the kind of which output? {type(model).__name__} gives {', '.join(names)}: say it by name "
            '(in Python: output={"' + names[0] + f'": "{said.only}"' + "})"
        )
    every = [Output(name, "values") for name in names]
    wanted = names if asked.outputs is None else [names[place] for place in chosen(every, asked.outputs)]
    if said.by_name:
        chosen(every, tuple(said.by_name))
    _check(model, returned, wanted)
    kinds = _kinds(wanted, returned)
    outputs = tuple(Output(name, said.by_name.get(name) or kinds[name]) for name in wanted)
    guessed = [f"{each.name} {each.kind}" for each in outputs if each.name not in said.by_name]
    notes = (f"kinds of the outputs by their names and axes: {', '.join(guessed)}",) if guessed else ()
    return outputs, tuple(wanted), notes


def _alone(
    model: nn.Module, returned: Returned, asked: ModelRequest, said: SaidKinds
) -> tuple[tuple[Output, ...], tuple[str, ...], tuple[str, ...]]:
    """The one tensor of a module: it has no name of its own, so it is called after its kind."""
    _check(model, returned, [ALONE])
    wanted = asked.outputs or tuple(said.by_name)
    kind, note = said.only, ""
    if kind is None and len(wanted) == 1:
        kind = said.by_name.get(wanted[0]) or next((known for known in AXES if known == wanted[0]), None)
    if kind is None and said.classes:
        kind = "logits"
    shape = tuple(returned.leaves[ALONE].shape)
    if kind is None:
        kind, note = _kinds([ALONE], returned)[ALONE], "by its axes"
        if kind == "embedding" and getattr(model, "num_classes", None) == shape[1]:
            kind, note = "logits", f"as its num_classes is {shape[1]}"
    output = Output(ALONE if kind == "values" else kind, kind)
    if asked.outputs is not None or wanted not in ((), (ALONE,)):
        chosen([output], wanted)
    if note:
        other = "embedding" if kind == "logits" else "logits"
        more = f"; say --outputs {other} where it is {other}" if kind in ("logits", "embedding") else ""
        note = f"the output is taken as {kind}, {note}{more}"
    return (output,), (ALONE,), (note,) if note else ()


def _only(asked: ModelRequest) -> OutputKind | None:
    return None if asked.kinds is None or isinstance(asked.kinds, Mapping) else asked.kinds


def _kinds(names: list[str], returned: Returned) -> dict[str, OutputKind]:
    return kinds_of({name: tuple(returned.leaves[name].shape) for name in names})


def _check(model: nn.Module, returned: Returned, wanted: list[str]) -> None:
    """Refuse outputs that no file can give."""
    for name in wanted:
        why = returned.unfit(name)
        if why is None and name == "input":
            why = "is called as the file's own input is; give it another name in the model"
        if why is not None:
            fit = [other for other in returned.leaves if returned.unfit(other) is None and other != "input"]
            advice = f"choose others with --outputs {','.join(fit)}" if fit else "the model cannot be exported"
            called = "the output" if list(returned.leaves) == [ALONE] else f"the output {name}"
            raise MptqError(f"{called} of {type(model).__name__} {why}; {advice}")


def _fitting(
    names: tuple[str, ...] | None, outputs: tuple[Output, ...], tensors: list[torch.Tensor]
) -> tuple[str, ...] | None:
    """Class names of the logits.

    Raises:
        MptqError: there are no logits, or others than names.
    """
    if names is None:
        return None
    counts = [tensor.shape[-1] for output, tensor in zip(outputs, tensors, strict=True) if output.kind == "logits"]
    if not counts:
        raise MptqError(f"{len(names)} class names are given, and no output is logits; say which is")
    if counts[0] != len(names):
        raise MptqError(f"{len(names)} class names are given, and {counts[0]} logits; give one for each")
    return names
