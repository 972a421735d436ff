"""SQ-b whose gain and offset are codes: what rounding them would cost goes into the layers that read the norm.

A norm behind SQ-b has the gain `gamma / s` and the offset `(beta - b) / s`. Where they are stored as codes, s and b are
moved to where both are a code times its step: the function is kept as it is by any s and b, and its norm is then stored
without an error.
"""

from dataclasses import replace

import numpy as np
import torch

from mptq_export.capture.graph import Node
from mptq_export.quantize.portable.ranges import of_gain, of_parameter
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant, SqB
from mptq_export.targets.portable import PortableForm

#: Values that are rounded to the codes of their range may have another range: the range of those is taken, a few times.
_ROUNDS = 8


def exactly_stored(form: PortableForm, norm: Node, sq_b: SqB) -> SqB:
    """Shift and scale next to those of an SQ-b.

    Args:
        form: says how gain and offset are stored.
        norm: a layer norm, before SQ-b.
        sq_b: what was found for it.
    """
    if form.norms == "float":
        return sq_b
    gamma, beta = (norm.params[key].double().cpu() for key in ("weight", "bias"))
    shift, scale = torch.from_numpy(sq_b.shift), torch.from_numpy(sq_b.scale)
    gain = (gamma / scale).float()
    for _ in range(_ROUNDS):
        quant = of_gain(form, gain)
        rounded = _at_least_a_step(fake_quantize(gain, quant), gain, quant)
        if torch.equal(rounded, gain):
            break
        gain = rounded
    scale = torch.where(gamma == 0, scale, gamma / gain.double())
    if form.norms == "codes":
        offset = ((beta - shift) / scale).float()
        for _ in range(_ROUNDS):
            rounded = fake_quantize(offset, of_parameter(form, offset, 8))
            if torch.equal(rounded, offset):
                break
            offset = rounded
        shift = beta - offset.double() * scale
    return replace(sq_b, shift=np.ascontiguousarray(shift.numpy()), scale=np.ascontiguousarray(scale.numpy()))


def _at_least_a_step(rounded: torch.Tensor, gain: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """Gains that were rounded to 0, or over it, one step from it: what a layer reads cannot be won back from 0."""
    step = torch.full_like(gain, quant.scale).copysign(gain)
    return torch.where((rounded * gain.sign() <= 0) & (gain != 0), step, rounded)
