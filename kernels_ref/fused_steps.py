"""The steps of fused products and convolutions: what they take of the codes, and what they give."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kernels_ref.convolution import FusedConvolution
from kernels_ref.errors import InterpreterError
from kernels_ref.fusion import FusedMatmul
from kernels_ref.matmul import centred, with_ones
from kernels_ref.ops.types import Array
from kernels_ref.steps import Step

Prepare = Callable[[Array], tuple[Array, ...]]


class Factor(NamedTuple):
    """A factor of a product that varies: its codes, the name of what the product takes of them, how that is made."""

    codes: str
    name: str
    prepare: Prepare

    def step(self, label: str) -> Step:
        """What makes it."""
        return Step(label, (self.codes,), (self.name,), self.prepare)


def convolution_step(fusion: FusedConvolution, *, trace: bool) -> Step:
    """A convolution from codes to codes; traced, its floats too."""
    real = fusion.node.outputs[0] if trace else ""
    return Step(fusion.node.label, (fusion.x.codes,), (real, fusion.codes_node.outputs[0]), fusion)


def product_step(fusion: FusedMatmul, factors: tuple[str, ...], *, trace: bool) -> Step:
    """A product of factors by these names, to codes where a QuantizeLinear takes part; traced, its floats too."""
    node, codes_node = fusion.node, fusion.codes_node
    outputs = (node.outputs[0], codes_node.outputs[0]) if codes_node else (node.outputs[0],)

    def compute(a: Array, w: Array | None = None) -> tuple[Array, ...]:
        acc = fusion.accumulate(a, w)
        if codes_node is None:
            return (fusion.to_float_in_place(acc),)
        if trace:
            return fusion.to_float(acc), fusion.to_codes(acc)
        return (fusion.to_codes(acc),)

    return Step(node.label, factors, outputs if trace else outputs[-1:], compute)


def factors_of(fusion: FusedMatmul) -> Iterator[Factor]:
    """Each factor of a product that varies."""
    a, w, weight = fusion.a, fusion.w, fusion.weight

    def turn(codes: Array) -> Array:
        return _of_type(codes.T if fusion.transposed else codes, a.zero)

    turned = "\0turned" if fusion.transposed else ""
    if weight is not None and weight.with_ones:
        yield Factor(a.codes, f"{a.codes}\0with ones{turned}", lambda codes: (with_ones(turn(codes)),))
    else:
        name = centred_name(a.codes, int(a.zero)) + turned
        yield Factor(a.codes, name, lambda codes: (centred(turn(codes), a.zero),))
    if weight is None:
        name = centred_name(w.codes, int(w.zero))
        yield Factor(w.codes, name, lambda codes: (centred(_of_type(codes, w.zero), w.zero),))


def _of_type(codes: Array, zero: Array) -> Array:
    # The bounds of sums rest on the type of the codes.
    if codes.dtype != zero.dtype:
        raise InterpreterError(f"the codes are {codes.dtype} and their zero point {zero.dtype}")
    return codes


def centred_name(codes: str, zero: int) -> str:
    """The name of codes without their zero point: no ONNX tensor can have it, the separator is no text."""
    return f"{codes}\0minus {zero}"
