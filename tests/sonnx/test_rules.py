"""Every rule of the profile finds the file that breaks it, and no other rule does."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from mptq_export.profile.check import check_profile
from mptq_export.profile.report import ProfileReport
from mptq_export.profile.table import RULES

from .drafts import FLOAT, Draft, draft

CONV = {"kernel_shape": [1, 1], "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}
QUANTIZE = {"axis": 1, "block_size": 0, "output_dtype": 0, "saturate": 1}


def f1(made: Draft) -> None:
    made.after.append(lambda model: model.graph.node.reverse())  # what is read is not there yet


def f2(made: Draft) -> None:
    made.after.append(lambda model: model.opset_import.append(helper.make_opsetid("com.microsoft", 1)))


def f4(made: Draft) -> None:
    made.after.append(lambda model: model.graph.output[0].ClearField("doc_string"))


def f5(made: Draft) -> None:
    def add(model: onnx.ModelProto) -> None:
        node = helper.make_node("Identity", ["a"], ["b"])
        model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node], list(model.opset_import)))

    made.after.append(add)


def g1_missing(made: Draft) -> None:
    made.after.append(lambda model: model.graph.value_info.pop())


def g1_no_shape(made: Draft) -> None:
    made.after.append(lambda model: model.graph.value_info[0].type.tensor_type.ClearField("shape"))


def g2(made: Draft) -> None:
    made.batch = "batch"
    made.stored["rows"] = np.ones((1, 4), np.float32)
    made.nodes["sum"] = helper.make_node("Identity", ["x"], ["sum"], name="sum")
    made.add("Cast", "sum", "y", to=FLOAT, saturate=1)
    made.nodes = {name: made.nodes[name] for name in ("sum", "y")}
    made.stored = {}


def g3(made: Draft) -> None:
    made.add("Identity", "sum", "nobody")


def g4(made: Draft) -> None:
    made.stored["nobody"] = np.ones(3, np.float32)


def g5_twice(made: Draft) -> None:
    made.nodes["map"].name = "floats"


def g5_none(made: Draft) -> None:
    made.nodes["map"].name = ""


def g6(made: Draft) -> None:
    def sparse(model: onnx.ModelProto) -> None:
        values = helper.make_tensor("s", FLOAT, [1], [1.0])
        tensor = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [3])
        model.graph.sparse_initializer.append(tensor)

    made.after.append(sparse)


def o1(made: Draft) -> None:
    made.add("Sin", "x", "sine")
    made.nodes["sum"].input[0] = "sine"
    made.nodes = {"sine": made.nodes.pop("sine"), **made.nodes}


def o2(made: Draft) -> None:
    made.add("RandomNormalLike", "x", "drawn", dtype=FLOAT, mean=0.0, scale=1.0, seed=1.0)
    made.nodes["sum"].input[1] = "drawn"
    made.nodes = {"drawn": made.nodes.pop("drawn"), **made.nodes}
    del made.stored["row"]


def o3(made: Draft) -> None:
    made.stored |= {"ratio": np.float32(0.5), "training": np.array(False)}
    made.add("Dropout", "x ratio training", "dropped", seed=0)
    made.nodes["sum"].input[0] = "dropped"
    made.nodes = {"dropped": made.nodes.pop("dropped"), **made.nodes}


def o4(made: Draft) -> None:
    del made.nodes["square"].attribute[:]


def o4_in_words(made: Draft) -> None:
    made.add("Conv", "map kernel bias", "y", auto_pad="NOTSET", group=1, **{**CONV, "strides": [1, 1]})
    kept = [attribute for attribute in made.nodes["y"].attribute if attribute.name != "pads"]
    del made.nodes["y"].attribute[:]
    made.nodes["y"].attribute.extend(kept)


def o5(made: Draft) -> None:
    del made.nodes["y"].input[2:]
    del made.stored["bias"]


def o6(made: Draft) -> None:
    made.stored["row"] = np.ones(4, np.float32)


def o6_stacks(made: Draft) -> None:
    made.stored |= {"stack": np.array([1, 4, 2], np.int64), "flat": np.array([4, 2], np.int64)}
    made.add("Reshape", "both stack", "stacked", allowzero=0)
    made.add("MatMul", "stacked matrix", "product_of_stack")
    made.add("Reshape", "product_of_stack flat", "matmul", allowzero=0)
    order = ["sum", "cut", "square", "product", "clipped", "both", "stacked", "product_of_stack", "matmul"]
    made.nodes = {name: made.nodes[name] for name in [*order, "codes", "wide", "floats", "map", "y"]}


def o7(made: Draft) -> None:
    made.stored["row"] = np.ones((1, 4), np.int64)
    made.add("Pow", "x row", "sum")


def r1(made: Draft) -> None:
    made.stored["two_two"] = np.array([-1, 2], np.int64)


def r2(made: Draft) -> None:
    made.add("Concat", "clipped clipped", "both", axis=-2)


def r3_axes(made: Draft) -> None:
    made.stored |= {
        "zeros": np.zeros(1, np.int64),
        "ends": np.array([4]),
        "axes": np.array([1]),
        "ones": np.ones(1, np.int64),
    }


def r3_beyond(made: Draft) -> None:
    made.stored["ends"] = np.array([1, 2**31], np.int64)


def r4(made: Draft) -> None:
    # ONNX itself wants scalars; onnx's checker does not look.
    made.stored["low"] = np.zeros(1, np.float32)


def r5(made: Draft) -> None:
    attributes = {**CONV, "auto_pad": "SAME_UPPER", "group": 1}
    made.add("Conv", "map kernel bias", "y", **attributes)


def r6(made: Draft) -> None:
    made.add("Gemm", "square matrix matrix", "product", alpha=2.0, beta=1.0, transA=0, transB=0)


def r6_bias(made: Draft) -> None:
    made.stored["line"] = np.ones(2, np.float32)
    made.add("Gemm", "square matrix line", "product", alpha=1.0, beta=1.0, transA=0, transB=0)


def r7(made: Draft) -> None:
    o6_stacks(made)
    made.stored["square_stack"] = np.ones((1, 2, 2), np.float32)
    made.nodes["product_of_stack"].input[1] = "square_stack"
    made.nodes["product_of_stack"].input[0] = "stacked"


def r8(made: Draft) -> None:
    made.stored["zero"] = np.int8(3)


def r8_channels(made: Draft) -> None:
    made.stored |= {"scales": np.ones(2, np.float32), "zero": np.zeros(2, np.uint8)}
    made.nodes["codes"].input[1] = "scales"


def r9(made: Draft) -> None:
    made.stored["zero_i16"] = np.int16(0)
    made.add("Cast", "codes", "wide", to=TensorProto.INT16, saturate=1)
    made.nodes["floats"].input[2] = "zero_i16"
    del made.stored["zero_i32"]


def r10(made: Draft) -> None:
    made.stored |= {"scales": np.ones(2, np.float32), "zero_i32": np.zeros(2, np.int32)}
    made.nodes["floats"].input[1] = "scales"


#: (rule, what spoils a file); the rest of the table is `test_data_in_another_file`.
VIOLATIONS: list[tuple[str, Callable[[Draft], None]]] = [
    *(("F1", each) for each in (f1,)),
    *(("F2", each) for each in (f2,)),
    *(("F4", each) for each in (f4,)),
    *(("F5", each) for each in (f5,)),
    *(("G1", each) for each in (g1_missing, g1_no_shape)),
    *(("G2", each) for each in (g2,)),
    *(("G3", each) for each in (g3,)),
    *(("G4", each) for each in (g4,)),
    *(("G5", each) for each in (g5_twice, g5_none)),
    *(("G6", each) for each in (g6,)),
    *(("O1", each) for each in (o1, o2, o3)),
    *(("O2", each) for each in (o2,)),
    *(("O3", each) for each in (o3,)),
    *(("O4", each) for each in (o4, o4_in_words)),
    *(("O5", each) for each in (o5,)),
    *(("O6", each) for each in (o6, o6_stacks)),
    *(("O7", each) for each in (o7,)),
    *(("R1", each) for each in (r1,)),
    *(("R2", each) for each in (r2,)),
    *(("R3", each) for each in (r3_axes, r3_beyond)),
    *(("R4", each) for each in (r4,)),
    *(("R5", each) for each in (r5,)),
    *(("R6", each) for each in (r6, r6_bias)),
    *(("R7", each) for each in (o6_stacks,)),
    *(("R8", each) for each in (r8, r8_channels)),
    *(("R9", each) for each in (r9,)),
    *(("R10", each) for each in (r10,)),
]

#: Rules that break together: what is drawn, or of training, is not listed; what is broadcast has too many axes.
TOGETHER = {"o2": {"O1", "O2"}, "o3": {"O1", "O3"}, "o6_stacks": {"O6", "R7"}}


def broken(report: ProfileReport) -> set[str]:
    return {rule.rule.name for rule in report.broken}


def test_the_file_that_is_spoilt_is_good():
    report = check_profile(draft().model())
    assert report.passed and not report.exceptions, report.to_json()
    assert [rule.rule for rule in report.rules] == list(RULES)


@pytest.mark.parametrize(("rule", "spoil"), VIOLATIONS, ids=lambda each: getattr(each, "__name__", each))
def test_a_file_breaks_the_rule_that_it_breaks(rule: str, spoil: Callable[[Draft], None]):
    made = draft()
    spoil(made)
    assert broken(check_profile(made.model())) == TOGETHER.get(spoil.__name__, {rule})


def test_data_in_another_file():
    assert broken(check_profile(draft().model(), ["matrix"])) == {"F3"}


def test_every_rule_has_a_file_that_breaks_it():
    assert {rule.name for rule in RULES} == {rule for rule, _ in VIOLATIONS} | {"F3"}


def test_stacks_of_one_shape_are_an_exception_and_no_broadcast():
    made = draft()
    r7(made)
    report = check_profile(made.model())
    assert report.passed
    assert {each.name: len(places) for each, places in report.exceptions.items()} == {"stacked products": 1}


def test_a_damaged_shape_is_told():
    """A value_info that says another shape than follows."""
    model = draft().model()
    info = next(each for each in model.graph.value_info if each.name == "square")
    info.type.tensor_type.shape.dim[0].dim_value = 4
    assert broken(check_profile(model)) == {"F1"}  # the onnx package finds it itself


HEAD = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]> g '


@pytest.mark.parametrize(
    "text",
    [
        "(float[N, 3] x) => (seq(float[N, 3]) y) { y = SequenceConstruct(x) }",
        "(float[N] x, bool c) => (float[M] y) { y = If(c) <then_branch = a () => (float[N] p) { p = Identity(x) }, "
        "else_branch = b () => (float[N] q) { q = Identity(x) }> }",
        "(float x) => (float y) { z = own.F(x) y = Identity(x) }",
        "(float[3, 2, 2] x) => (float[3] y) { y = ReduceMax <axes = [1, 2], keepdims = 0> (x) }",
        "(float[3, 2] x, int64[1] s) => (float[K] y) { y = Reshape(x, s) }",
    ],
)
def test_files_of_other_makers_are_read(text: str):
    report = check_profile(onnx.parser.parse_model(HEAD + text))
    assert not report.passed
    assert all(finding.why for rule in report.broken for finding in rule.broken)


def test_a_rule_names_its_source_and_exceptions_their_rule():
    from mptq_export.profile.exceptions import EXCEPTIONS

    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(".md (" in rule.source for rule in RULES)
    assert {each.rule for each in EXCEPTIONS} <= set(names)
    assert len({each.name for each in EXCEPTIONS}) == len(EXCEPTIONS)
