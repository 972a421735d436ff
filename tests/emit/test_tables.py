"""Every op of the canonical graph has a place in the tables of a form, or is named as one that has none."""

from typing import get_args

import pytest

from mptq_export.capture.ops import Movement, Op, Reshape
from mptq_export.emit import movement
from mptq_export.emit.exact.tables import CODES, FLOATS, NEVER_CODES, NEVER_FLOATS
from mptq_export.emit.exact.weight_storage import STORAGES
from mptq_export.recipe.settings import WeightStorage

COMPUTING = frozenset(get_args(Op)) - frozenset(get_args(Movement))


@pytest.mark.parametrize(("table", "never"), [(CODES, NEVER_CODES), (FLOATS, NEVER_FLOATS)], ids=["codes", "floats"])
def test_a_table_and_what_it_refuses_are_all_ops(table: dict[type[Op], object], never: frozenset[type[Op]]):
    assert table.keys() | never == COMPUTING
    assert not table.keys() & never


def test_every_movement_has_a_step():
    assert movement._MOVES.keys() | {Reshape} == set(get_args(Movement))  # a reshape may leave rows merged


def test_every_weight_storage_that_a_recipe_can_name_is_there():
    assert set(STORAGES) == set(get_args(WeightStorage))
