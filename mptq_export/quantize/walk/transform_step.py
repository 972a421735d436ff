"""Transforms, as the walk comes to them: balanced attention ahead of a layer, SQ-b behind a norm."""

import torch

from mptq_export.capture.evaluate import computed_in
from mptq_export.capture.graph import Node
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import centred_step
from mptq_export.quantize.activations.sample import draw_rows
from mptq_export.quantize.sq_b import choose_sq_b
from mptq_export.quantize.walk.state import WalkState
from mptq_export.recipe.schema import SqB
from mptq_export.transform.balance_attention import balance_attention, only_matmuls
from mptq_export.transform.even_values import even_values
from mptq_export.transform.fold_sq_b import fold_sq_b, sq_b_readers
from mptq_export.transform.preserved import assert_same
from mptq_export.transform.shift_values import movable_values, shift_values

_FLOAT64 = computed_in(torch.float64)


def balance_attention_of(state: WalkState, linear: Node) -> None:
    """Balance the heads of a q, k, v layer; any other linear layer is left as it is."""
    source = state.values.held(linear.inputs[0])
    rows = draw_rows(source).double()
    state.graph = balance_attention(state.graph, linear, _FLOAT64(linear, [rows]))
    if state.form.one_scale:
        state.graph = even_values(state.graph, state.graph[linear.name], _FLOAT64(state.graph[linear.name], [rows]))
    elif state.method.centred_codes:
        _centre_values(state, linear.name, rows)


def _centre_values(state: WalkState, linear: str, rows: torch.Tensor) -> None:
    """Move values by half a step: an even number of codes around 0 has 0 between two of them.

    Args:
        state: where the walk is.
        linear: name of a q, k, v layer; one that no attention reads is left as it is.
        rows: float64 [n, K], some of what it reads.
    """
    outputs = _FLOAT64(state.graph[linear], [rows])
    for matmul in only_matmuls(state.graph, state.graph[linear]):
        channels = movable_values(state.graph, matmul, linear)
        if channels is not None:
            seen = Histogram.of(outputs[:, channels.to(outputs.device)].float())
            step = centred_step(seen, state.widths(matmul.name)[1])
            state.graph = shift_values(state.graph, matmul, state.graph[linear], -step / 2)


def choose_and_fold_sq_b(state: WalkState, norm: Node) -> SqB | None:
    """Choose SQ-b of a layer norm and fold it, into the values in flight too; None where not only layers read it.

    Raises:
        MptqError: a reader gives something else than before (a defect of this package).
    """
    readers = sq_b_readers(state.graph, norm)
    if not readers:
        return None
    weight = torch.cat([reader.params["weight"] for reader in readers])
    direct = next((r.name for r in readers if r.inputs[0] == norm.name), "")  # its rows are those of the norm
    value = state.values.held(norm.name)
    choice = choose_sq_b(
        value,
        weight,
        state.widths(readers[0].name),
        state.method,
        state.importance.get(direct),
        quantizer=state.form.of_range,
        form=state.form.weights,
        centred=state.method.centred_codes and not state.form.one_scale,
    )
    choice = state.form.stored(norm, choice)
    rows = draw_rows(value).double()
    state.graph = fold_sq_b(state.graph, norm, choice)
    shift, scale = (torch.from_numpy(numbers).to(rows) for numbers in (choice.shift, choice.scale))
    for reader in readers:
        expected = _FLOAT64(reader, [rows])
        assert_same(f"SQ-b at {norm.name}", _FLOAT64(state.graph[reader.name], [(rows - shift) / scale]), expected)
    state.values.quantized[norm.name] = state.simulate(state.graph[norm.name])
    state.values.overwrite_float(norm.name, lambda some: (some - shift) / scale)
    return choice
