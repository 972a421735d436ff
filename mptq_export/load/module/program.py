"""A program of `torch.export`, as an object or as a `.pt2` file.

Reading a file may run code that it holds (see `door.check_trusted`), so that needs `--trust`. A program that was made
for one number of images is captured anew; that succeeds where its steps hold no size of a batch.
"""

import logging
from pathlib import Path

import torch
from torch import nn

from mptq_export.load.file.content import Content
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.module.door import check_trusted
from mptq_export.load.module.own import Own, load_own
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError

_AXES = 4


def load_file(source: Source) -> LoadedModel:
    """Read the file, and take its program.

    Raises:
        MptqError: nobody trusts the file, it cannot be read, or its program cannot be exported.
    """
    path = Path(source.asked.name)
    check_trusted(source.asked)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        program = torch.export.load(path)
    except Exception as error:  # whatever is wrong with a stranger's file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MptqError(
            f"{path} cannot be read by the installed torch {torch.__version__} ({type(error).__name__}: {reason}); "
            "save it again with this version, or give the module that it was made from"
        ) from error
    return load_exported(program, source.asked, "a program of torch.export")


def load_exported(
    program: torch.export.ExportedProgram,
    asked: ModelRequest,
    arch_source: str,
    class_names: tuple[str, ...] | None = None,
) -> LoadedModel:
    """A program as a model.

    Args:
        program: takes one batch of images.
        asked: what the user says of it.
        arch_source: where it comes from, for people.
        class_names: names of its logits, if they are known.

    Raises:
        MptqError: it takes something else, or only one number of images.
    """
    size = _image_size(program, asked.name)
    module = program.module(check_guards=False)
    # They refuse other numbers of images than the example had, even where the steps would take them.
    module._forward_pre_hooks.clear()
    _check_any_batch(module, size, asked.name)
    module.eval = lambda: module  # type: ignore[method-assign] # torch refuses it; the program is what was exported
    own = Own(
        module,
        arch_source,
        {"input_size": size},
        "the program",
        class_names,
        weights="those of the program",
        name=_class_of(program),
    )
    return load_own(own, asked)


def _class_of(program: torch.export.ExportedProgram) -> str | None:
    """Name of the class that a program was made from, where it is noted."""
    stacks = (node.meta.get("nn_module_stack") or {} for node in program.graph.nodes)
    outermost = (str(kind) for stack in stacks for path, kind in stack.values() if not path)
    return next((kind.rpartition(".")[2] for kind in outermost if not kind.startswith("torch.")), None)


def _image_size(program: torch.export.ExportedProgram, name: str) -> tuple[int, int, int]:
    """Channels, height and width of the one input."""
    inputs = program.graph_signature.user_inputs
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.name in inputs}
    if len(inputs) != 1:
        raise MptqError(
            f"the program {name} needs more than pixels: it takes {', '.join(map(str, inputs))}; export a module whose "
            "forward takes images alone"
        )
    (shape,) = shapes.values()
    if len(shape) != _AXES or any(isinstance(size, torch.SymInt) for size in shape[1:]):
        raise MptqError(
            f"the program {name} takes {' x '.join(map(str, shape))}, not a number of images x channels x height x "
            "width of fixed sizes; export it for images of one size, with dynamic_shapes for the first axis alone"
        )
    return int(shape[1]), int(shape[2]), int(shape[3])


def _check_any_batch(module: nn.Module, size: tuple[int, int, int], name: str) -> None:
    """Refuse a program whose steps hold the number of images that it was made with."""
    try:
        with torch.no_grad():
            for batch in (1, 2, 3):
                module(torch.zeros(batch, *size))
    except Exception as error:
        raise MptqError(
            f"the program {name} was made for one number of images; export it again with dynamic_shapes="
            '({0: torch.export.Dim("batch")},) and an example of two images'
        ) from error


LOADER = Loader(lambda source: source.kind is Content.PROGRAM, load_file)
