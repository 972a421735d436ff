"""OPT-m: the levels of post-GELU activations, found by the error of the layer's output.

A quantizer has `2 ** bits` levels. The scales of its regions differ by powers of two, and every level is a multiple of
its region's scale, so that a code is the integer `k << m` on the finest grid and one 8-bit matmul reads them all.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.statistics import Range
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import affine
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant, Region

#: Largest m that is tried.
MAX_SHIFT = 5

#: Regions above zero that are tried: three where codes are few, two where they would be too many to search.
_FEW_STEPS = 31

#: Shares of the largest value that the top level is tried at.
_SHARES = np.geomspace(0.12, 1.0, 18)

#: Layouts whose true output error is measured, best estimate first.
_MEASURED = 6

Layout = tuple[int, tuple[Region, ...]]
"""Zero point and regions; codes start at 0."""


@cache
def layouts(steps: int) -> tuple[Layout, ...]:
    """All layouts of `steps` levels besides the lowest: a negative lobe of up to a third, then growing scales.

    The lobe has the finest scale or up to four times it. The plain uniform layouts are among them.
    """
    found: list[Layout] = []
    most = 3 if steps <= _FEW_STEPS else 2
    for lobe in range(steps // 3 + 1):
        for shift in range(3 if lobe else 1):
            zero = lobe << shift
            for upper in _upper(steps - lobe, 0, 0, most if shift == 0 else most - 1):
                if upper[-1].last + zero > 255:
                    continue
                regions = tuple(Region(r.shift, r.last + zero) for r in upper)
                found.append((zero, regions if shift == 0 else (Region(shift, zero), *regions)))
    return tuple(found)


def _upper(steps: int, start: int, shift: int, most: int) -> Iterator[tuple[Region, ...]]:
    if start + (steps << shift) <= 255:
        yield (Region(shift, start + (steps << shift)),)
    if most == 1:
        return
    for count in range(1, steps):
        last = start + (count << shift)
        if last > 255:
            return
        for coarser in range(shift + 1, MAX_SHIFT + 1):
            if last % (1 << coarser) == 0:
                for rest in _upper(steps - count, last, coarser, most - 1):
                    yield (Region(shift, last), *rest)


def search_levels(
    seen: Histogram,
    sample: Sample,
    weight: torch.Tensor,
    results: NDArray[np.float64],
    bits: int,
    *,
    regions: bool,
    negative: bool = True,
) -> ActivationQuant:
    """The levels after an activation function with the smallest error of the linear layer that reads them.

    The function sees at most 256 codes, so that the error of a candidate is first estimated on a histogram of its
    results; the best few are then measured on the layer's output.

    Args:
        seen: all values, each counted as much as its error matters.
        sample: some rows of them.
        weight: [N, K], of what reads them.
        results: float64, the at most 256 values that the function can give.
        bits: 2 to 8.
        regions: whether other layouts than uniform ones are allowed.
        negative: whether the function gives values below 0.
    """
    values, counts = _on_results(seen, results)
    top = float(values[counts > 0].max(initial=1e-6))  # no value counts where all weights are zero
    ranked: list[tuple[float, ActivationQuant]] = []
    for zero, layout in layouts(2**bits - 1):
        uniform = len(layout) == 1 and layout[0].shift == 0
        if not (regions or uniform) or (zero and not negative):
            continue
        reason = "range with the smallest output error" if uniform else "OPT-m: levels with the smallest output error"
        quant = ActivationQuant(1.0, zero, 0, layout[-1].last, bits, reason, () if uniform else layout)
        scales = (top * _SHARES / (quant.high - zero)).astype(np.float32)
        error = _errors(values, counts, scales.astype(np.float64), quant)
        best = int(error.argmin())
        ranked.append((float(error[best]), replace(quant, scale=float(scales[best]))))
    ranked.sort(key=lambda entry: entry[0])

    error_of = sample.output_error(weight)

    def measured(quant: ActivationQuant) -> float:
        return error_of(fake_quantize(sample.rows, quant) - sample.rows)

    plain = affine(Range(seen.low, seen.high), bits)
    return min((plain, *(quant for _, quant in ranked[:_MEASURED])), key=measured)


def _on_results(seen: Histogram, results: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The histogram on the values that can occur."""
    ordered = np.sort(results)
    nearest = np.searchsorted((ordered[1:] + ordered[:-1]) / 2, seen.values)
    counts: NDArray[np.float64] = np.bincount(nearest, weights=seen.counts, minlength=len(ordered)).astype(np.float64)
    return ordered, counts


def _errors(
    values: NDArray[np.float64],
    counts: NDArray[np.float64],
    scales: NDArray[np.float64],
    quant: ActivationQuant,
) -> NDArray[np.float64]:
    """Weighted squared error of the levels of a quantizer at every scale."""
    steps = values / scales[:, None]
    total = np.full_like(steps, quant.low - quant.zero_point)
    for run in quant.runs():
        total += (np.clip(np.rint(steps / run.unit), run.first, run.last) - run.first) * run.unit
    return np.asarray((((total - steps) * scales[:, None]) ** 2 * counts).sum(1))
