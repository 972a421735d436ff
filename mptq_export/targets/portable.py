"""What a file in the portable form looks like for one runtime: the conventional QDQ graph, as that runtime takes it."""

from dataclasses import dataclass
from typing import Literal

from mptq_export.recipe.schema import CodeForm

AttentionCodes = Literal["unsigned", "lowest", "positive"]
"""Codes of what a softmax gives: from 0 of an unsigned type, from the lowest of a signed one, or from 0 of a signed
one, of which half are never used."""

Spelling = Literal["node", "erf"]
"""How GELU is written: as one node, or as five with `Erf` among them and no codes between."""

ParameterType = Literal["float", "codes", "int32 offset"]
"""How gain and offset of a layer norm are stored: as floats, as codes of 8 bits a tensor, or the offset as int32 with
the product of the scales of input and gain, like the bias of a linear layer."""


@dataclass(frozen=True, kw_only=True)
class PortableForm:
    """How a portable file is written.

    Attributes:
        everywhere: codes on every tensor; else on what matmuls read alone.
        signed: whether codes of activations are signed.
        symmetric: whether the code of 0 is the middle one (0 where codes are signed).
        off_middle: whether the middle code is no zero point, and not all channels of a weight have zero point 0: RKNN
            takes a tensor that has for one of another scale.
        attention: codes of what a softmax gives.
        attention_one: whether the highest code of what a softmax gives is 1; else a step is a power of two.
        attention_searched: whether that step may be a smaller one, above which results are cut.
        weight_bits: widths that weights can have.
        activation_bits: widths that activations can have.
        residual_bits: widths that the residual can have, the best one first; none where it is a float.
        weights: which weight codes of 8 bits there may be.
        bias_codes: whether the bias of a layer is int32 codes; else it is float.
        norms: how gain and offset of a layer norm are stored.
        one_width: whether every op has codes of one type in and out, so that a width changes between ops alone.
        right_bits: width of the second factor of a product of two values; None: that of the first.
        gelu: how GELU is written.
        inner_codes: whether the parts of a function that is several nodes have codes between them.
        layers_in_parts: whether a layer whose result is cut is a layer for each part.
        largest_stride: of a convolution; None for any.
        bytes_behind_movement: whether weights of 4 bits are stored as bytes where they are multiplied with 16-bit codes
            that were moved: HTP reads those at another place, without a word.
        opset: of the file.
        ir: IR version of the file.
        fixed_batch: whether shapes are fixed; the file then takes one image.
        run: whether files were run in the runtime itself; else they follow what its documents say.
    """

    everywhere: bool = True
    signed: bool = True
    symmetric: bool = True
    off_middle: bool = False
    attention: AttentionCodes = "unsigned"
    attention_one: bool = True
    attention_searched: bool = False
    weight_bits: tuple[int, ...] = (8,)
    activation_bits: tuple[int, ...] = (8,)
    residual_bits: tuple[int, ...] = (8,)
    weights: CodeForm = "full"
    bias_codes: bool = True
    norms: ParameterType = "float"
    one_width: bool = False
    right_bits: int | None = None
    gelu: Spelling = "node"
    inner_codes: bool = False
    layers_in_parts: bool = False
    largest_stride: int | None = None
    bytes_behind_movement: bool = False
    opset: int = 17
    ir: int = 8
    fixed_batch: bool = True
    run: bool = False

    @property
    def middle_pixel(self) -> int:
        """The raw pixel that the first layer takes for 0: the zero point of a uint8 input."""
        return 128 if self.signed and not self.off_middle else 0
