"""Where the portable form has codes: on every tensor with a quantizer of its own, or on what matmuls read alone.

A value has codes where it is computed. A reader that runs at another width converts them once more: that is a site of
the reader. Data movement keeps the codes of what it moves.
"""

from dataclasses import dataclass
from functools import cached_property

from mptq_export.calibrate.sites import Operand, Site, SiteKind
from mptq_export.capture import ops
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Movement, Weighted
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.portable.residual import begins, residual_values
from mptq_export.targets.portable import PortableForm

#: Layers: they run at the width that was asked for, in and out.
_Layer = ops.Linear | ops.Depthwise | ops.Matmul

#: Sums and what becomes one of their terms unchanged: all of one width.
_Joins = ops.Add | ops.Concat | ops.Pad | ops.Product

_OPERANDS: tuple[Operand, ...] = ("a", "b")


@dataclass(frozen=True)
class PortableSites:
    """All sites of a graph and their widths.

    Attributes:
        graph: the graph; transforms may change its tensors, not its nodes.
        form: the form of the file.
        widths: (weights, activations) of every layer.
        residual: width of the residual streams.
    """

    graph: Graph
    form: PortableForm
    widths: WidthsOf
    residual: int

    @cached_property
    def all(self) -> list[Site]:
        """Every site, in graph order."""
        found: list[Site] = []
        for node in self.graph:
            found += [
                self.operand(node, position) for position in range(len(node.inputs)) if self.reads(node, position)
            ]
            if self.has_result(node):
                found.append(Site(f"{node.name}.output", node, node.name, SiteKind.TENSOR))
        return found

    def key(self, node: Node, position: int) -> str | None:
        """The site whose codes a reader gets for one of its inputs; None where it reads floats."""
        if self.reads(node, position):
            return self.operand(node, position).key
        root = self.graph.root(node.inputs[position])
        return f"{root.name}.output" if self.has_result(root) else None

    def has_result(self, node: Node) -> bool:
        """Whether a value has codes where it is computed."""
        if isinstance(node.op, ops.Input) and self._pixels:  # they are what has codes
            return False
        return self.form.everywhere and not isinstance(node.op, Movement | ops.Outputs)

    def reads(self, node: Node, position: int) -> bool:
        """Whether a reader makes codes of its own of one of its inputs."""
        if not self.form.everywhere:
            return isinstance(node.op, Weighted | ops.Matmul)
        wanted = self.wanted(node, position)
        root = self.graph.root(node.inputs[position])
        return wanted is not None and self.has_result(root) and self.result_bits(root) != wanted

    def bits(self, site: Site) -> int:
        """Width of a site."""
        if site.kind == SiteKind.TENSOR:
            return self.result_bits(site.node)
        if not self.form.everywhere:
            return self._width(site.node)
        wanted = self.wanted(site.node, 1 if site.key.endswith(".b") else 0)
        assert wanted is not None
        return wanted

    def result_bits(self, node: Node) -> int:
        """Width of the codes of a value that is computed."""
        if node.name not in self._known:
            self._known[node.name] = self._result_bits(node)
        return self._known[node.name]

    @cached_property
    def _known(self) -> dict[str, int]:
        return {}

    @cached_property
    def _pixels(self) -> bool:
        return any(isinstance(node.op, ops.ToPixels) for node in self.graph)

    @cached_property
    def _residual(self) -> set[str]:
        return residual_values(self.graph)

    def operand(self, node: Node, position: int) -> Site:
        """The site of a reader that makes codes of its own of one of its inputs."""
        operand: Operand = "input" if len(node.inputs) == 1 else _OPERANDS[position] if position < 2 else "input"
        of_softmax = isinstance(self.graph.root(node.inputs[position]).op, ops.Softmax)
        kind = SiteKind.ATTENTION if of_softmax else SiteKind.CONVERTED
        end = operand if position < 2 else str(position)
        return Site(f"{node.name}.{end}", node, node.inputs[position], kind)

    def _width(self, node: Node) -> int:
        """Activation width of a layer; that of the pixels is the residual's, which they become, or 8."""
        if isinstance(node.op, ops.PatchEmbed):
            return self.residual if self.form.everywhere else 8
        return self.widths(node.name)[1]

    def wanted(self, node: Node, position: int) -> int | None:
        """Width of an input of a node; None where it takes any."""
        if isinstance(node.op, ops.Matmul) and position == 1 and self.form.right_bits is not None:
            return self.form.right_bits
        if isinstance(node.op, _Layer | ops.PatchEmbed | _Joins):
            return self.result_bits(node)
        return None

    def _result_bits(self, node: Node) -> int:
        if isinstance(node.op, _Layer):
            last = any(self.graph.root(value) is node for value in self.graph.outputs.values())
            if last or begins(self.graph, node, self._residual):
                return max(self._width(node), self.residual)
            return self._width(node)
        if isinstance(node.op, ops.ToPixels):
            return 8
        if isinstance(node.op, ops.PatchEmbed):
            return self.residual
        if isinstance(node.op, ops.Input | ops.Constant):
            readers = self.graph.final_readers(node.name) or []
            positions = [(reader, reader.inputs.index(value)) for reader, value in readers]
            asked = [wanted for reader, at in positions if (wanted := self.wanted(reader, at)) is not None]
            return max(asked, default=self.residual)
        if self.form.one_width and not isinstance(node.op, _Joins):
            return self.result_bits(self.graph.root(node.inputs[0]))
        if isinstance(node.op, ops.LayerNorm | ops.Activation | ops.Softmax):
            return max(self._asked(node), default=self.residual)
        if node.name in self._residual:
            return self.residual
        roots = [self.graph.root(name) for name in node.inputs]
        computed = [root for root in roots if not isinstance(root.op, ops.Constant)]  # those have what they are read at
        return max((self.result_bits(root) for root in computed), default=self.residual)

    def _asked(self, node: Node) -> set[int]:
        """Widths that the readers of a value want, and what those give on without a width of their own."""
        found: set[int] = set()
        for reader, value in self.graph.final_readers(node.name) or ():
            if isinstance(reader.op, _Layer):
                found.add(self.wanted(reader, reader.inputs.index(value)) or self._width(reader))
            elif reader.name in self._residual:
                found.add(self.residual)
            elif not isinstance(reader.op, ops.Outputs):
                found |= self._asked(reader)
        return found
