"""What a layer costs at its widths, as tables and functions."""

from collections.abc import Callable

Prices = dict[tuple[str, int], float]
"""What a layer costs at a width, by (layer, bits)."""

JointPrice = Callable[[str, tuple[int, int]], float]
"""What a layer costs at (weights, activations), where the two cannot be told apart."""
