"""What Qualcomm's HTP computes wrongly in silence does not pass, and what is right does."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mptq_export.cli.verify import main
from tests.qdq_graphs import Codes, Weights, save
from tests.qdq_vit import PROBABILITY, s8_vit, u8_vit, u16_stream_vit

pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")


def run(path: Path) -> Result:
    return CliRunner().invoke(main, [str(path), "--runtime", "qnn", "--random", "8"])


def test_a_signed_softmax_around_0_is_whole_and_fails(tmp_path: Path):
    result = run(save(s8_vit(Codes("s8", scale=1 / 127)), tmp_path / "m.onnx"))
    assert result.exit_code == 1, result.output
    assert "none left to the CPU" in result.stdout and "WRONG" in result.stdout


def test_unsigned_codes_pass(tmp_path: Path):
    for number, model in enumerate((u8_vit(), u16_stream_vit())):
        result = run(save(model, tmp_path / f"{number}.onnx"))
        assert result.exit_code == 0, result.output
        assert "all in integers" in result.stdout


def test_norms_on_the_cpu_fail(tmp_path: Path):
    result = run(save(u8_vit(weights=Weights(norm="s8")), tmp_path / "m.onnx"))
    assert result.exit_code == 1
    assert "3 LayerNormalization" in result.stdout


def test_a_product_that_htp_computes_in_float_is_status_3(tmp_path: Path):
    result = run(save(s8_vit(PROBABILITY), tmp_path / "m.onnx"))
    assert result.exit_code == 3, result.output
    assert "1 MatMul (f32 x f32 -> f32)" in result.stdout


def test_a_free_batch_is_run_as_one(tmp_path: Path):
    model = u8_vit()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    result = run(save(model, tmp_path / "m.onnx"))
    assert result.exit_code == 0, result.output
