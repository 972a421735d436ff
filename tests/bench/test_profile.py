"""Where the time goes, from traces that are known."""

from typing import Any

import pytest

from mptq_export.bench.op_groups import group_of
from mptq_export.bench.profile import OpTime, Trace, read_profile


def node(op: str, micros: int) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{op}_kernel_time", "dur": micros, "args": {"op_name": op}}


def run(micros: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "dur": micros}


@pytest.mark.parametrize(
    ("op", "group"),
    [
        ("QGemm", "matmul"),
        ("QLinearMatMul", "matmul"),
        ("MatMulIntegerToFloat", "matmul"),
        ("FusedMatMul", "matmul"),
        ("Conv", "matmul"),
        ("Transpose", "data movement"),
        ("Split", "data movement"),
        ("QuantizeLinear", "element-wise"),
        ("ReduceSum", "element-wise"),
        ("LayerNormalization", "element-wise"),
        ("SomethingNew", "element-wise"),
    ],
)
def test_groups(op: str, group: str):
    assert group_of(op) == group


def test_a_product_with_one_column_is_a_reduction():
    assert group_of("MatMulIntegerToFloat", [1, 3, 197, 1]) == "element-wise"
    assert group_of("MatMulIntegerToFloat", [1, 3, 1, 64]) == "matmul"
    sums, product = node("MatMulIntegerToFloat", 10), node("MatMulIntegerToFloat", 30)
    sums["args"]["output_type_shape"] = [{"float": [1, 3, 197, 1]}]
    product["args"]["output_type_shape"] = [{"float": [1, 3, 197, 64]}]
    found = read_profile(Trace.of([sums, product, run(50)]), skip=0)
    assert found.groups == {"matmul": 0.03, "element-wise": 0.01, "data movement": 0.0}


def test_the_median_of_each_node_counts():
    events = [
        {"cat": "Session", "name": "session_initialization", "dur": 7},
        *(node("Add", 999), node("QGemm", 999), node("Add", 999), run(9999)),  # warm-up
        *(node("Add", 1), node("QGemm", 90), node("Add", 2), run(100)),
        *(node("Add", 4000), node("QGemm", 80), node("Add", 2), run(4100)),
        *(node("Add", 3), node("QGemm", 70), node("Add", 5000), run(5100)),
    ]
    found = read_profile(Trace.of(events), skip=1)
    assert found.ops == (OpTime("QGemm", "matmul", 1, 0.08), OpTime("Add", "element-wise", 2, 0.005))
    assert (found.run_ms, found.nodes) == (4.1, 3)
    assert found.groups == {"matmul": 0.08, "element-wise": 0.005, "data movement": 0.0}
