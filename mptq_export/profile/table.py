"""The rules of a profile: a line each, with its source."""

from mptq_export.profile import file_rules, operator_rules, restrictions
from mptq_export.profile.rule import ProfileRule
from mptq_export.profile.sources import general, graph, operator, requirements

#: Not a row of the table: a file that breaks it cannot be looked at by the others.
VALID = ProfileRule(
    "F1", "the file is valid ONNX", requirements("REQ-FO-000 Compatibility with ONNX"), lambda _view: ()
)

RULES: tuple[ProfileRule, ...] = (
    VALID,
    ProfileRule(
        "F2",
        "one version of every operator set that is used is named, and of no other",
        requirements("REQ-FO-020 Operator versions"),
        file_rules.versions,
    ),
    ProfileRule(
        "F3",
        "all that is needed is in the file",
        requirements("REQ-FO-010 Format completeness"),
        file_rules.complete,
    ),
    ProfileRule(
        "F4",
        "inputs and outputs say in words what they are",
        requirements("REQ-FO-040 Documentation of input and output tensors"),
        file_rules.described_ends,
    ),
    ProfileRule(
        "F5", "no functions: their nodes stand in the graph", graph("Functions nodes"), file_rules.no_functions
    ),
    ProfileRule(
        "G1",
        "every tensor has its type and its shape written",
        requirements("REQ-GR-000 Explicit types and shapes") + "; " + general("GR2"),
        file_rules.types_and_shapes,
    ),
    ProfileRule(
        "G2",
        "every size is a number",
        requirements("REQ-GR-000 Explicit types and shapes"),
        file_rules.fixed_sizes,
    ),
    ProfileRule("G3", "what a node gives is read", graph("Restrictions, R1"), file_rules.no_dead_node),
    ProfileRule(
        "G4", "every input, and every stored tensor, is read", graph("Constraints, C2 (of inputs)"), file_rules.all_read
    ),
    ProfileRule(
        "G5",
        "every node has a name of its own, and no two tensors have one name",
        graph("Constraints, C1, and Tensors (of tensors)"),
        file_rules.names,
    ),
    ProfileRule("G6", "dense tensors only", general("GR1"), file_rules.dense_tensors),
    ProfileRule(
        "O1",
        "operators that the working group lists or specifies",
        requirements("REQ OP 000 Operator set"),
        operator_rules.known_operators,
    ),
    ProfileRule(
        "O2",
        "no operator draws its result",
        requirements("REQ-OP-010 Deterministic operators"),
        operator_rules.deterministic,
    ),
    ProfileRule(
        "O3", "no operator of training", requirements("REQ-OP-020 Inference operators"), operator_rules.inference
    ),
    ProfileRule(
        "O4",
        "every attribute is written",
        requirements("REQ-OP-070 No default value"),
        operator_rules.attributes_written,
    ),
    ProfileRule(
        "O5",
        "no optional input is left out",
        requirements("REQ-OP-070 No default value") + "; " + operator("slice/slice.md", "7070975", "R1 and R3"),
        operator_rules.inputs_given,
    ),
    ProfileRule(
        "O6",
        "operands have the shape of the result: nothing is broadcast",
        operator("add/add.md", "1a718a8", "constraint C1"),
        operator_rules.no_broadcasting,
    ),
    ProfileRule("O7", "operands are of one type: nothing is converted", general("GR3"), operator_rules.no_conversion),
    ProfileRule(
        "R1",
        "a Reshape has its target shape in numbers, none to be found out",
        requirements("REQ-GR-000 Explicit types and shapes"),
        restrictions.reshape,
    ),
    ProfileRule(
        "R2",
        "the axis of a Concat counts from the front",
        operator("concat/concat.md", "3d3740a", "R1"),
        restrictions.concat,
    ),
    ProfileRule(
        "R3",
        "a Slice names every axis, with bounds within its size",
        operator("slice/slice.md", "7070975", "R2 and R6 to R8"),
        restrictions.slices,
    ),
    ProfileRule(
        "R4",
        "bounds of a Clip are scalars",
        operator("clip/clip.md", "0ab7337", "constraints C1 of min and max"),
        restrictions.clip,
    ),
    ProfileRule(
        "R5",
        "a Conv has two spatial axes, pads in numbers, and one group or one for each channel",
        operator("conv/conv.md", "3d3740a", "R1 to R3"),
        restrictions.conv,
    ),
    ProfileRule(
        "R6",
        "a Gemm is the product of two matrices and a bias in the shape of the result",
        operator("gemm/gemm.md", "edf16dc", "R1 to R4"),
        restrictions.gemm,
    ),
    ProfileRule(
        "R7",
        "operands of a MatMul have two axes",
        operator("matmul/matmul.md", "0ab7337", "constraints C1"),
        restrictions.matmul,
    ),
    ProfileRule(
        "R8",
        "a QuantizeLinear makes uint8 of floats by one scale and one zero point",
        operator("QuatizeLinear/quantize_linear.md", "0eddfae", "R1 to R5"),
        restrictions.quantize,
    ),
    ProfileRule(
        "R9",
        "a DequantizeLinear makes floats of int32",
        operator("DequantizeLinear/dequantize_linear.md", "0eddfae", "applicable types"),
        restrictions.dequantize_type,
    ),
    ProfileRule(
        "R10",
        "a DequantizeLinear has one scale and one zero point",
        operator("DequantizeLinear/dequantize_linear.md", "0eddfae", "R1 to R3"),
        restrictions.dequantize_scale,
    ),
)
