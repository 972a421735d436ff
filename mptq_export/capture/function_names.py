"""What the activation functions are called; known without torch, which their records need."""

from typing import Literal

Function = Literal["gelu", "gelu_tanh", "silu", "quick_gelu", "sigmoid", "tanh", "hardswish", "relu"]
"""Names of the activation functions."""
