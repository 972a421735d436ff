"""ATen ops that take no more of a value than its sizes: their results are constants."""

import torch
from torch import fx

from mptq_export.capture.aten.repeated import evaluated
from mptq_export.capture.tracer import Tracer


def filled(tracer: Tracer, node: fx.Node) -> torch.Tensor:
    """`new_zeros`, `zeros_like` and their kind, for a batch of one."""
    return evaluated(tracer, node, 1)
