"""The rules of every target's files. A source is a test that runs in the runtime, or a document that was only read."""

import numpy as np

from mptq_export.targets.file import activations, functions, parameters, whole
from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.view import Codes

#: Ops of the portable form that every target has; what some call otherwise is added.
_OPS = (
    *("Add", "Concat", "Conv", "Gemm", "HardSwish", "Identity", "LayerNormalization", "MatMul", "Mul", "Pad"),
    *("ReduceMax", "ReduceMean", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax", "Split", "Tanh", "Transpose"),
)

#: GELU in parts.
_PARTS = ("Div", "Erf", "Pow")

#: An RMS norm in parts.
_RMS = ("Div", "Sqrt")

_HTP = "run: tests/runtime/edge/test_htp_rules.py"
_HTP_ZOO = "run: tests/runtime/edge/test_htp_zoo.py"
_RKNN = "run: tests/runtime/edge/test_rknn.py"
_OPENVINO = "run: tests/runtime/edge/test_openvino_form.py"
_TRACT = "run: tests/runtime/edge/test_tract.py"
_ONNX = "run: tests/emit/test_portable.py, in onnxruntime"
_TENSORRT = "read: docs.nvidia.com/deeplearning/tensorrt, Explicit Quantization; onnx/onnx-tensorrt docs/operators.md"
_TENSORRT_BIAS = "read: onnx/onnx-tensorrt issue 850, microsoft/onnxruntime issue 14229"
_TIDL = "read: TexasInstruments/edgeai-tidl-tools docs/quantization.md"
_TIDL_OPS = "read: TexasInstruments/edgeai-tidl-tools docs/operators.md, docs/vision_transformers.md"
_ST = "read: stedgeai-dc.st.com, ST Neural-ART NPU: supported operators and limitations (8b/8b, ss/sa per-channel)"
_ST_OPS = "read: stedgeai-dc.st.com, ONNX toolbox support (opset 7 to 20)"


#: The lowest code of a type, and the one in its middle.
_LOWEST = {"int8": -128, "int16": -32768, "uint8": 0, "uint16": 0}
_MIDDLE = {"int8": 0, "int16": 0, "uint8": 128, "uint16": 32768}


def _zero(codes: Codes) -> bool:
    return not codes.zero_point.any()


def _off_middle(codes: Codes) -> bool:
    return bool((codes.zero_point != _MIDDLE[codes.kind]).all())


def _steps(codes: Codes, count: int) -> bool:
    """Whether a step is one of so many in 1."""
    return bool((codes.scale == np.float32(1.0 / count)).all())


def _from_lowest(codes: Codes) -> bool:
    return bool((codes.zero_point == _LOWEST[codes.kind]).all())


_MATMULS_ALONE: tuple[FileRule, ...] = (
    whole.standard_ops(_ONNX),
    activations.codes_at_products(_ONNX),
    activations.types(("int8", "uint8"), _ONNX),
    activations.per_tensor(_ONNX),
    activations.zero_points("zero points are 0", _zero, _ONNX),
    parameters.weights(("int8",), _ONNX),
    parameters.int32_bias(_ONNX),
    parameters.gemm_plain(_ONNX),
    parameters.float_norms(_ONNX),
)

FILE_RULES: dict[str, tuple[FileRule, ...]] = {
    "generic": (
        whole.versions(17, 17, 8, _ONNX),
        whole.known_ops((*_OPS, *_PARTS, *_RMS), _ONNX),
        *_MATMULS_ALONE,
        activations.no_codes_before_softmax(_TRACT),
    ),
    "tract": (
        whole.versions(17, 17, 8, _TRACT),
        whole.known_ops((*_OPS, *_PARTS, *_RMS), _TRACT),
        *_MATMULS_ALONE,
        activations.no_codes_before_softmax(_TRACT),
    ),
    "openvino": (
        whole.versions(17, 20, 9, _OPENVINO),
        whole.known_ops((*_OPS, "Gelu", *_RMS), _OPENVINO),
        *_MATMULS_ALONE,
        functions.gelu_node(_OPENVINO),
    ),
    "qnn": (
        whole.versions(20, 21, 10, _HTP),
        whole.standard_ops(_HTP),
        whole.known_ops((*_OPS, "Gelu"), _HTP_ZOO),
        whole.fixed_shapes(_HTP_ZOO),
        whole.few_axes(5, _HTP_ZOO),
        whole.ordered_pieces(_HTP_ZOO),
        whole.tokens_by_reshape("run: tests/runtime/edge/test_qnn_form.py"),
        activations.codes_everywhere(_HTP, within_functions=True),
        activations.one_reader(_HTP_ZOO),
        activations.types(("uint8", "uint16"), _HTP),
        activations.per_tensor(_HTP),
        activations.one_type(_HTP),
        activations.second_factor(("uint8", "int8"), _HTP),
        activations.same_through_movement(_HTP),
        activations.bytes_behind_movement(_HTP),
        activations.softmax_codes("a softmax gives codes from 0 of an unsigned type", _from_lowest, _HTP),
        parameters.weights(("int8", "int4"), _HTP),
        parameters.int32_bias(_HTP),
        parameters.gemm_plain(_HTP_ZOO),
        parameters.norms_in_integers(_HTP),
        functions.gelu_node(_HTP),
    ),
    "rknn": (
        whole.versions(17, 19, 8, _RKNN),
        whole.standard_ops(_RKNN),
        whole.known_ops((*_OPS, *_PARTS), _RKNN),
        whole.fixed_shapes(_RKNN),
        whole.strides(7, _RKNN),
        activations.codes_everywhere(_RKNN, within_functions=False),
        activations.types(("int8", "uint8"), _RKNN),
        activations.per_tensor(_RKNN),
        activations.zero_points("no zero point is the middle code", _off_middle, _RKNN),
        activations.same_through_movement(_RKNN),
        activations.softmax_codes(
            "a softmax gives codes from the lowest in steps of 1/256",
            lambda codes: _from_lowest(codes) and _steps(codes, 256),
            _RKNN,
        ),
        parameters.weights(("int8",), _RKNN, zero=False),
        parameters.constants_off_middle(_RKNN),
        parameters.int32_bias(_RKNN),
        parameters.gemm_plain(_RKNN),
        parameters.norms_in_codes(_RKNN),
        parameters.epsilon(_RKNN),
        functions.gelu_parts(_RKNN),
    ),
    "tensorrt": (
        whole.versions(13, 20, 10, _TENSORRT),
        whole.standard_ops(_TENSORRT),
        whole.known_ops((*_OPS, *_PARTS), _TENSORRT),
        activations.codes_at_products(_TENSORRT),
        activations.types(("int8",), _TENSORRT),
        activations.per_tensor(_TENSORRT),
        activations.zero_points("zero points are 0", _zero, _TENSORRT),
        parameters.weights(("int8",), _TENSORRT),
        parameters.float_bias(_TENSORRT_BIAS),
        parameters.gemm_plain(_TENSORRT),
        parameters.float_norms(_TENSORRT),
    ),
    "tidl": (
        whole.versions(11, 19, 8, _TIDL_OPS),
        whole.standard_ops(_TIDL_OPS),
        whole.known_ops((*_OPS, *_PARTS), _TIDL_OPS),
        whole.fixed_shapes(_TIDL_OPS),
        whole.few_axes(6, _TIDL_OPS),
        activations.codes_everywhere(_TIDL, within_functions=False),
        activations.types(("int8", "uint8"), _TIDL),
        activations.per_tensor(_TIDL),
        activations.zero_points("symmetric codes: zero point 0", _zero, _TIDL),
        activations.same_through_movement(_TIDL),
        parameters.weights(("int8",), _TIDL),
        parameters.int32_bias(_TIDL),
        parameters.gemm_plain(_TIDL_OPS),
        parameters.float_norms(_TIDL),
        functions.gelu_parts(_TIDL_OPS),
    ),
    "st": (
        whole.versions(7, 20, 10, _ST_OPS),
        whole.standard_ops(_ST_OPS),
        whole.known_ops((*_OPS, *_PARTS), _ST_OPS),
        whole.fixed_shapes(_ST),
        activations.codes_everywhere(_ST, within_functions=False),
        activations.types(("int8",), _ST),
        activations.per_tensor(_ST),
        activations.same_through_movement(_ST),
        parameters.weights(("int8",), _ST),
        parameters.int32_bias(_ST),
        parameters.gemm_plain(_ST_OPS),
        parameters.float_norms(_ST),
    ),
}
"""Rules of the files of every target that takes the portable form."""
