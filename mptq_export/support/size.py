"""How much a model computes, as numbers: what the time of long work is told from before it is done."""

import math
from dataclasses import astuple, dataclass

#: Of a model of which nothing but its weights is known: blocks, and pixels of a token along an edge.
_BLOCKS, _PATCH = 12, 16


@dataclass(frozen=True)
class Size:
    """Sums over nodes; what grows with the images is of one image.

    K is the number of inputs of a layer, N that of its outputs, rows are those of one image.

    Attributes:
        macs: multiply-accumulates of layers and attention.
        numbers: elements of all values that are computed, not only moved.
        norms: those of layer norms among them.
        moments: rows x K (K + N) of the layers: what it takes to fit them.
        columns: K of the layers.
        solving: N x K x K of the layers: what it takes to round them.
        channels: of layer norms, and of rows of products of attention.
        layers: layers with weights, and products of attention.
    """

    macs: float = 0.0
    numbers: float = 0.0
    norms: float = 0.0
    moments: float = 0.0
    columns: float = 0.0
    solving: float = 0.0
    channels: float = 0.0
    layers: float = 0.0

    def __add__(self, other: "Size") -> "Size":
        return Size(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @staticmethod
    def of_layer(rows: float, inputs: float, outputs: float) -> "Size":
        """Of a layer with weights.

        Args:
            rows: of an image.
            inputs: K.
            outputs: N.
        """
        macs = rows * inputs * outputs
        return Size(
            macs=macs,
            numbers=rows * outputs,
            moments=macs + rows * inputs * inputs,
            columns=inputs,
            solving=outputs * inputs * inputs,
            layers=1.0,
        )

    @staticmethod
    def guess(parameters: float, pixels: float) -> "Size":
        """Of a vision transformer of which nothing else is known.

        Args:
            parameters: how many weights it has.
            pixels: of an image.
        """
        width = math.sqrt(max(parameters, 1) / (12 * _BLOCKS))
        tokens, heads = pixels / _PATCH**2 + 1, max(1.0, width / 64)
        block = Size(numbers=7 * tokens * width, norms=2 * tokens * width, channels=2 * width)
        block += Size(macs=2 * tokens**2 * width, numbers=2 * heads * tokens**2, channels=tokens + 64, layers=2.0)
        for inputs, outputs in ((1, 3), (1, 1), (1, 4), (4, 1)):
            block += Size.of_layer(tokens, inputs * width, outputs * width)
        return sum([block] * _BLOCKS, Size())
