from types import SimpleNamespace
from typing import Any

import pytest

from mptq_export.export.few_bits import _wider_activations


def settings(bits: str = "8/8", budget: str = "", top: int = 8, form: str = "exact") -> Any:
    search = SimpleNamespace(budget=budget, range=(2, top)) if budget else None
    return SimpleNamespace(bits=bits, search=search, form=form)


@pytest.mark.parametrize(
    ("made", "advised"),
    [
        (settings("3/3"), "--bits 3/8"),
        (settings("4/6, 2 layers pinned"), "--bits 4/8"),
        (settings("3/8"), None),
        (settings(budget="3.5"), "--mixed 3.5/8"),
        (settings(budget="2.5/4"), "--mixed 2.5/8"),
        (settings(budget="2.5/8"), None),
        (settings(budget="2.5/4", top=6), None),
        (settings(budget="12MB"), None),
        (settings(budget="75%"), None),
        (settings("3/3", form="portable"), None),
    ],
)
def test_wide_activations_are_advised_where_they_cost_nothing(made: Any, advised: str | None) -> None:
    text = "activations of 8 bits cost no bytes and no time in onnxruntime: "
    assert _wider_activations(made) == ([] if advised is None else [text + advised])
