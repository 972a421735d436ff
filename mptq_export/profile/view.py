"""A file as the rules of a profile see it: what it declares, and what follows from it."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import onnx

from mptq_export.targets.file.view import FileView


class ProfileView(FileView):
    """A model with the types and shapes that follow from its inputs.

    Attributes:
        declared: the model as the file has it.
        external: names of tensors that the file keeps in other files.
    """

    def __init__(self, model: onnx.ModelProto, external: Iterable[str] = ()) -> None:
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        super().__init__(onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True))
        self.declared = FileView(model)
        self.external = frozenset(external)

    def sizes(self, name: str) -> list[int] | None:
        """Sizes of a tensor; None where they do not follow, or one of them is free."""
        found = self.shapes.get(name)
        return None if found is None or min(found, default=0) < 0 else found

    @cached_property
    def constant_names(self) -> frozenset[str]:
        """Tensors that no input of the graph reaches: stored, or computed of what is stored alone."""
        found = set(self.stored)
        for node in self.nodes:
            if all(name in found for name in node.input if name):
                found.update(node.output)
        return frozenset(found)

    def reads(self, node: onnx.NodeProto) -> Iterator[str]:
        """The inputs of a node that are there."""
        return (name for name in node.input if name)
