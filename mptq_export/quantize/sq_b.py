"""SQ-b: the search for shift, scale and strength of one layer norm; `transform/fold_sq_b.py` folds what is found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from mptq_export.calibrate.statistics import Range
from mptq_export.quantize.activations.ranges import affine, range_of
from mptq_export.quantize.activations.sample import Sample, draw_rows
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.exact_sums import integer_product
from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import quantize_weight
from mptq_export.recipe.schema import ActivationQuant, CodeForm, SqB

Quantizer = Callable[[Range, int], ActivationQuant]
"""The quantizer of a range at a width."""

#: Strengths that are tried besides "off": the exponent a of the activation range.
STRENGTHS = (0.5, 0.75, 1.0)

#: Shares of the rows that the tails of a channel's range may lose, on either side.
_TAILS = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03)

#: Shares of the range that a candidate is measured with, where ranges are chosen by error.
_SHARES = (1.0, 0.85, 0.7, 0.55)

#: Output channels that a candidate is measured on.
_CHANNELS = 384


def choose_sq_b(
    value: torch.Tensor,
    weight: torch.Tensor,
    bits: tuple[int, int],
    method: Method,
    importance: torch.Tensor | None = None,
    *,
    strengths: Iterable[float] = STRENGTHS,
    quantizer: Quantizer = affine,
    form: CodeForm = "pair_safe",
    centred: bool = False,
) -> SqB:
    """Search the strength on held-out rows.

    The candidates are `s = range^a / max|W|^(1-a)` for every strength a (the paper's formula), and "off". Each is
    measured on every second image by the error of the quantized layer's output; its weights are rounded with the other
    images.

    Args:
        value: float32 [images, ..., D], outputs of the layer norm.
        weight: [N, D], of all layers that read them.
        bits: (weights, activations).
        method: says how ranges and weights are chosen.
        importance: float64 [rows], how much every row counts.
        strengths: the exponents a.
        quantizer: of a range at a width.
        form: which weight codes of 8 bits there may be.
        centred: move the outputs by half a step more, so that an even number of codes has its middle in theirs.

    Returns:
        SQ-b with the smallest error.
    """
    rows = value.reshape(-1, value.shape[-1])
    counts = rows.new_ones(len(rows), dtype=torch.float64) if importance is None else importance
    counts = counts.reshape(value.shape[:-1])
    fitting = draw_rows(value[::2], counts[::2].reshape(-1))
    odd = slice(1 if len(value) > 1 else 0, None, 2)
    held_out = Sample.of(value[odd], counts[odd].reshape(-1))
    if method.sq_b == "range":
        low, high = rows.amin(0).double(), rows.amax(0).double()
        shift, half_width = (low + high) / 2, ((high - low) / 2).clamp_min(1e-8)
    else:
        shift, half_width = channel_ranges(fitting, bits[1])
    weight = weight.double()
    largest = weight.abs().amax(0).clamp_min(1e-8)
    options = {0.0: (torch.zeros_like(shift), torch.ones_like(half_width))}
    # What is stored are float32 numbers: the last bits of a power differ from CPU to CPU.
    shift = shift.float().double()
    options |= {a: (shift, (half_width**a / largest ** (1 - a)).float().double()) for a in strengths}
    some = weight[:: max(1, len(weight) // _CHANNELS)]
    trials = {
        shifted: _Trial(fitting - by, held_out.rows - by, held_out.counts, some, bits, method, quantizer, form, centred)
        for shifted, by in ((False, options[0.0][0]), (True, shift))
    }
    measured = {a: trials[a > 0].error(scale) for a, (_, scale) in options.items()}
    errors = {a: error for a, (error, _) in measured.items()}
    best = min(errors, key=lambda a: errors[a])
    listed = ", ".join(f"{a or 'off'}: {errors[a]:.3g}" for a in options)
    reason = f"mean squared output error on held-back rows by strength: {listed}"
    shift, scale = options[best]
    shift = (shift + measured[best][1] * scale).float().double()
    return SqB(shift.cpu().numpy(), scale.cpu().numpy(), best, reason)


def channel_ranges(rows: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half width of the range with the smallest squared error per channel, at a bit-width.

    Args:
        rows: float32 [rows, D].
        bits: 2 to 8.

    Returns:
        Two float64 [D].
    """
    ordered = rows.sort(0).values.double()
    last, levels = len(ordered) - 1, 2**bits - 1
    best = torch.full_like(ordered[0], float("inf"))
    shift, half_width = torch.zeros_like(best), torch.ones_like(best)
    for tail in _TAILS:
        low, high = ordered[round(tail * last)], ordered[round((1 - tail) * last)]
        middle, half = (low + high) / 2, ((high - low) / 2).clamp_min(1e-8)
        step = 2 * half / levels
        position = ((ordered - middle) / step + levels / 2).round_().clamp_(0, levels)
        error = ((position - levels / 2) * step + middle - ordered).square_().mean(0)
        better = error < best
        best = torch.where(better, error, best)
        shift, half_width = torch.where(better, middle, shift), torch.where(better, half, half_width)
    return shift, half_width


@dataclass(frozen=True)
class _Trial:
    """What every candidate of one shift is measured with.

    Attributes:
        fitting: float64 [n, D], rows that weights are rounded with, the shift taken off.
        rows: float64 [m, D], rows that the error is measured on, likewise.
        counts: float64 [m], how much each of them counts.
        weight: float64 [N, D], some of the output channels that read them.
        bits: (weights, activations).
        method: says how ranges and weights are chosen.
        quantizer: of a range at a width.
        form: which weight codes of 8 bits there may be.
        centred: whether the codes have their middle in that of the range.
    """

    fitting: torch.Tensor
    rows: torch.Tensor
    counts: torch.Tensor
    weight: torch.Tensor
    bits: tuple[int, int]
    method: Method
    quantizer: Quantizer
    form: CodeForm
    centred: bool

    def error(self, scale: torch.Tensor) -> tuple[float, float]:
        """The best range behind one scale, float64 [D].

        Returns:
            Mean squared error of the quantized layers' outputs, and what is subtracted from what they read, with which
            the codes have their middle in that of the range: half a step, where it is 0.
        """
        rows = self.rows / scale
        hessian = Hessian(self._moment / scale / scale[:, None]) if self.method.gptq else None
        codes, unit = quantize_weight(self.weight * scale, self.bits[0], hessian, gptq=self.method.gptq, form=self.form)
        of_ones = codes.double().sum(1) * unit.double()
        seen = range_of(torch.cat([self.fitting / scale, rows]))
        middle = (seen.low + seen.high) / 2
        tried = []
        for share in _SHARES if self.method.ranges_by_error else _SHARES[:1]:
            half = (seen.high - seen.low) / 2 * share
            moved = middle + half / (2 ** self.bits[1] - 1) if self.centred else 0.0
            quant = self.quantizer(Range(middle - half - moved, middle + half - moved), self.bits[1])
            found = integer_product(
                steps(rows - moved, quant).float(), codes, torch.zeros_like(self.weight[:, 0]), quant.largest
            )
            gap = found.double().mul_(quant.scale * unit.double()).add_(moved * of_ones).sub_(self._exact)
            tried.append((float(gap.square_().mean(1) @ self.counts / self.counts.sum()), moved))
        return min(tried)

    @cached_property
    def _exact(self) -> torch.Tensor:
        """What the layers give without rounding, whatever the scale: [m, N]."""
        return self.rows @ self.weight.T

    @cached_property
    def _moment(self) -> torch.Tensor:
        """Second moment of what weights are rounded with, [D, D]."""
        return self.fitting.T @ self.fitting / len(self.fitting)
