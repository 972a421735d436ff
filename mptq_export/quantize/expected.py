"""What choosing quantizers should take, before it is done: seconds on one core of the machine that was measured.

The terms were fitted to the time of every node of DeiT-tiny (16 images), ViT-S (8) and the digits model (100) at
several widths, as the walk comes to it; on other machines the clock corrects them (`support/time_left.py`).
"""

from collections.abc import Collection

from mptq_export.quantize.method import Method
from mptq_export.quantize.reconstruct.length import BATCH, STEPS
from mptq_export.support.size import Size


def walk_seconds(
    size: Size, images: int, method: Method, bits: Collection[int] = (), *, has_weight_regions: bool = True
) -> float:
    """Of a walk, or of a part of it.

    Args:
        size: of the nodes.
        images: how many go through.
        method: which techniques are used.
        bits: the widths that weights are rounded at; none where they are not fitted at all.
        has_weight_regions: of the form of the file.
    """
    seconds = images * 2.2e-8 * size.numbers
    if method.sq_b != "off" or method.ranges_by_error:
        seconds += 1.7e-2 * size.layers + 9.5e-4 * size.channels + images * 3.2e-7 * size.norms
    if bits and method.measures_inputs:
        seconds += images * 1.3e-10 * size.moments
        few = sum(each <= method.weight_regions for each in bits) if has_weight_regions else 0
        seconds += (2.9e-4 * len(bits) + 3.1e-4 * few) * size.columns + 3.2e-9 * len(bits) * size.solving
    return seconds


def importance_seconds(size: Size, images: int, method: Method) -> float:
    """Of the importance of every row: once through the model and back, in float64."""
    return images * (1.3e-10 * size.macs + 3e-9 * size.numbers) if method.row_importance else 0.0


def learning_seconds(size: Size) -> float:
    """Of `--reconstruct`: so many steps a block, there and back in float32, and what a step costs of any size."""
    return STEPS * (2e-3 * size.layers + BATCH * (1.5e-10 * size.macs + 4.8e-9 * size.numbers))
