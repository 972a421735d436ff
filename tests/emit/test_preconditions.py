"""What a file promises for any float32 but NaN, and what it says that it needs."""

import ctypes
import platform

import numpy as np
import onnxruntime
import pytest
from tiny_models import images, quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import MINMAX
from mptq_export.targets.preconditions import preconditions
from mptq_export.verify.compare import verify_model

KINDS = ("vit", "swin", "levit")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def emitted(kind: str) -> bytes:
    graph, recipe = quantized(kind, (8, 8), MINMAX)
    return emit(graph, recipe, input_type="float32", producer="test").SerializeToString()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, -3e38, 1e-40, -0.0])
def test_infinite_and_extreme_inputs_are_exact(kind: str, value: float, tmp_path):
    """Codes end at 0 and 255: whatever is beyond them, whole images and single pixels, gives the same bits."""
    path = tmp_path / "m.onnx"
    path.write_bytes(emitted(kind))
    spotted = images(kind, 3).numpy()
    spotted[1, :, 3:7, 2:9] = value
    spotted[2, 0, ::2, ::3] = value
    report = verify_model(path, [spotted, np.full_like(spotted[:1], value)])
    assert report.passed
    assert report.values > 10_000


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the numbers of x86's rounding modes"
)
def test_the_rounding_mode_is_a_precondition_that_matters():
    """A caller that rounds upwards gets other logits: this is why the file says so."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(emitted("vit"), options, providers=["CPUExecutionProvider"])
    x = images("vit", 2).numpy()
    expected = session.run(None, {"input": x})[0]
    library = ctypes.CDLL("libm.so.6")
    library.fesetround(0x800)
    try:
        upwards = session.run(None, {"input": x})[0]
    finally:
        library.fesetround(0)
    assert not np.array_equal(upwards, expected)
    assert np.array_equal(session.run(None, {"input": x})[0], expected)


def test_pixels_are_never_nan():
    assert "NaN" in preconditions("float32")
    assert "NaN" not in preconditions("uint8")
    assert all("rounds to nearest" in preconditions(kind) for kind in ("float32", "uint8"))
