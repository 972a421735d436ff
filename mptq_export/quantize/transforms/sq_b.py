"""SQ-b: the shift, scale and strength of one layer norm."""

import torch

from mptq_export.calibrate.statistics import Range
from mptq_export.quantize.activations.ranges import affine, observed
from mptq_export.quantize.activations.sample import Sample, drawn_rows
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.weights.codes import dequantized, quantize_weight
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.recipe.schema import Smoothing

#: Strengths that are tried besides "off": the exponent a of the activation range.
STRENGTHS = (0.5, 0.75, 1.0)

#: Parts of every channel's range that its tails may lose, in rows.
_TAILS = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03)

#: Parts of the range that a candidate is measured with, where ranges are chosen by error.
_PARTS = (1.0, 0.85, 0.7, 0.55)

#: Output channels that a candidate is measured on.
_CHANNELS = 384


def choose_smoothing(
    value: torch.Tensor,
    weight: torch.Tensor,
    bits: tuple[int, int],
    method: Method,
    importance: torch.Tensor | None = None,
) -> Smoothing:
    """Search the strength on held-back rows.

    The candidates are `s = range^a / max|W|^(1-a)` for every strength a (the paper's formula), and "off". Each is
    measured on every second image by the error of the quantized layer's output; its weights are rounded with the other
    images.

    Args:
        value: float32 [images, ..., D], outputs of the layer norm.
        weight: [N, D], of all layers that read them.
        bits: (weights, activations).
        method: says how ranges and weights are chosen.
        importance: float64 [rows], how much every row counts.

    Returns:
        The smoothing with the smallest error.
    """
    rows = value.reshape(-1, value.shape[-1])
    weights = rows.new_ones(len(rows), dtype=torch.float64) if importance is None else importance
    weights = weights.reshape(value.shape[:-1])
    fit = drawn_rows(value[::2], weights[::2].reshape(-1))
    odd = slice(1 if len(value) > 1 else 0, None, 2)
    held = Sample.of(value[odd], weights[odd].reshape(-1))
    if method.smoothing == "range":
        low, high = rows.amin(0).double(), rows.amax(0).double()
        shift, span = (low + high) / 2, ((high - low) / 2).clamp_min(1e-8)
    else:
        shift, span = channel_ranges(fit, bits[1])
    weight = weight.double()
    largest = weight.abs().amax(0).clamp_min(1e-8)
    chosen = weight[:: max(1, len(weight) // _CHANNELS)]
    options = {0.0: (torch.zeros_like(shift), torch.ones_like(span))}
    # What is stored are float32 numbers: the last bits of a power differ from CPU to CPU.
    shift = shift.float().double()
    options |= {a: (shift, (span**a / largest ** (1 - a)).float().double()) for a in STRENGTHS}
    errors = {a: _error(fit, held, chosen, *options[a], bits, method) for a in options}
    best = min(errors, key=lambda a: errors[a])
    listed = ", ".join(f"{a or 'off'}: {errors[a]:.3g}" for a in options)
    reason = f"mean squared output error on held-back rows by strength: {listed}"
    chosen_shift, chosen_scale = (part.cpu().numpy() for part in options[best])
    return Smoothing(chosen_shift, chosen_scale, best, reason)


def channel_ranges(rows: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half width of the range of every channel with the smallest squared error at a bit-width.

    Args:
        rows: float32 [rows, D].
        bits: 2 to 8.

    Returns:
        Two float64 [D].
    """
    ordered = rows.sort(0).values.double()
    last, levels = len(ordered) - 1, 2**bits - 1
    best = torch.full_like(ordered[0], float("inf"))
    shift, span = torch.zeros_like(best), torch.ones_like(best)
    for tail in _TAILS:
        low, high = ordered[round(tail * last)], ordered[round((1 - tail) * last)]
        middle, half = (low + high) / 2, ((high - low) / 2).clamp_min(1e-8)
        step = 2 * half / levels
        position = ((ordered - middle) / step + levels / 2).round_().clamp_(0, levels)
        error = ((position - levels / 2) * step + middle - ordered).square_().mean(0)
        better = error < best
        best = torch.where(better, error, best)
        shift, span = torch.where(better, middle, shift), torch.where(better, half, span)
    return shift, span


def _error(
    fit: torch.Tensor,
    held: Sample,
    weight: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    bits: tuple[int, int],
    method: Method,
) -> float:
    fit, rows = ((part - shift) / scale for part in (fit, held.rows))
    weight = weight * scale
    hessian = Hessian(fit.T @ fit / len(fit)) if method.rounding else None
    codes, weight_scale = quantize_weight(weight, bits[0], hessian, compensate=method.rounding)
    rounded = dequantized(codes, weight_scale).double()
    exact = rows @ weight.T
    seen = observed(torch.cat([fit, rows]))
    errors = []
    for part in _PARTS if method.clipping else _PARTS[:1]:
        middle, half = (seen.low + seen.high) / 2, (seen.high - seen.low) / 2 * part
        quant = affine(Range(middle - half, middle + half), bits[1])
        gap = fake_quantize(rows, quant) @ rounded.T - exact
        errors.append(float(gap.square().mean(1) @ held.counts / held.counts.sum()))
    return min(errors)
