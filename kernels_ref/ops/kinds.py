"""Ops by what they do with the elements of their inputs."""

BROADCASTING = frozenset(
    {"Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "Less", "Max"}
    | {"Min", "Mod", "Mul", "Or", "Pow", "Sub", "Where"}
)
"""Element by element, of several inputs that broadcast."""

ELEMENT_WISE = BROADCASTING | {
    *("Abs", "Cast", "Erf", "Exp", "Floor", "Gelu", "Identity", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round"),
    *("Sigmoid", "Sqrt", "Tanh"),
}
"""These, and element by element of one input."""

MOVEMENT = frozenset(
    {"Expand", "Flatten", "Gather", "ReduceMax", "ReduceMin", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
    | {"Transpose", "Unsqueeze"}
)
"""Every element of the output is one of the first input."""
