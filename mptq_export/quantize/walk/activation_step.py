"""The quantizer of every site, as the walk comes to it."""

import math
from typing import Protocol

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.capture.deferred import Value
from mptq_export.quantize.form import SiteSearch
from mptq_export.quantize.walk.state import WalkState
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError


class ActivationStep(Protocol):
    """What chooses the quantizer of a site."""

    def choose(self, state: WalkState, site: Site, search: SiteSearch) -> ActivationQuant:
        """The quantizer that the walk goes on with.

        Args:
            state: where the walk is.
            site: any site.
            search: finds the site's quantizer at any width.
        """
        ...


class AtAskedWidth:
    """Every site has the width asked for; layers that read one value at one width share its codes."""

    def __init__(self) -> None:
        self._chosen: dict[tuple[str, int], ActivationQuant] = {}

    def choose(self, state: WalkState, site: Site, search: SiteSearch) -> ActivationQuant:
        """As the protocol says."""
        bits = state.simulator.width(state.graph, site)
        if site.kind != SiteKind.LINEAR:
            return search.at(bits)
        if (site.value, bits) not in self._chosen:
            self._chosen[site.value, bits] = search.at(bits)
        return self._chosen[site.value, bits]


def quantize_site(state: WalkState, site: Site, value: Value, step: ActivationStep) -> ActivationQuant:
    """Choose the quantizer of a site, and give it to the simulator.

    Args:
        state: where the walk is.
        site: any site.
        value: float32, what the quantized model gives there, all images.
        step: chooses.

    Raises:
        MptqError: the value is not finite, or a table cannot be certified.
    """
    search = state.form.search(
        graph=state.graph,
        site=site,
        value=value,
        known=state.simulator.activations,
        method=state.method,
        importance=state.importance_at(site.node.name),
        layers=state.importance,
        values=state.values.readable,
    )
    if not (math.isfinite(search.range.low) and math.isfinite(search.range.high)):
        raise MptqError(
            f"{site.node.name}: the quantized model is not finite here; use more bits, or check the checkpoint for "
            "extreme weights"
        )
    quant = state.simulator.activations[site.key] = step.choose(state, site, search)
    return quant
