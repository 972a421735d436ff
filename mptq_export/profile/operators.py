"""The operators that the working group names, and where."""

#: The list of the requirements (REQ OP 000), as ONNX spells them; what is no ONNX operator (Dense, FullyConnected,
#: Padding, ConvTransposeDeconvolution) is left out.
REQUIRED = frozenset(
    {"Abs", "Add", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Div", "Equal"}
    | {"Erf", "Exp", "Expand", "Flatten", "GRU", "Gather", "Gemm", "GlobalAveragePool", "HardSwish", "Identity"}
    | {"LSTM", "LeakyRelu", "Less", "Log", "MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "Pad", "Pow"}
    | {"Range", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "ScatterND", "Shape", "Sigmoid", "Slice"}
    | {"Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"}
)

#: What has a specification besides.
SPECIFIED = frozenset({"ArgMax", "BatchNormalization", "ConvInteger", "DequantizeLinear", "QuantizeLinear"})

#: Operators whose result is drawn, or may be.
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

#: Operators of a training loop.
TRAINING = frozenset(
    {"Adagrad", "Adam", "Gradient", "Momentum", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "Dropout"}
)
