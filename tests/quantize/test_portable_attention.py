"""Codes of a softmax where matmuls alone read codes: as fine as its results ask for."""

import torch

from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.portable.ranges import best_attention, of_attention
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.targets.table import GENERIC


def test_even_rows_get_finer_codes_than_one_in_255():
    value = torch.softmax(torch.randn(4, 3, 197, 197, generator=torch.Generator().manual_seed(0)), -1)
    widest, found = of_attention(GENERIC, 8), best_attention(GENERIC, Histogram.of(value), 8)
    assert found.scale < 0.2 * widest.scale and (found.zero_point, found.low, found.high) == (0, 0, 255)
    errors = [float((fake_quantize(value, quant) - value).square().mean()) for quant in (widest, found)]
    assert errors[1] < 0.05 * errors[0]


def test_rows_with_one_best_keep_the_whole_range():
    value = torch.eye(16).expand(2, 3, 16, 16)
    assert best_attention(GENERIC, Histogram.of(value), 8) == of_attention(GENERIC, 8)
