"""A context binary is prepared without the device and gives what the file gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.qnn_context import SOC_KEY, write_context
from mptq_export.runtime.edge.qnn_socs import SOCS, soc_by_name
from mptq_export.support.errors import MptqError
from tests.qdq_graphs import Weights, save
from tests.qdq_vit import IMAGES, u8_vit


def test_a_soc_is_known_by_its_name_in_any_case_and_by_any_number():
    assert soc_by_name("sm8650") is soc_by_name("57") is soc_by_name("SM8650")
    assert soc_by_name("1234").number == 1234
    assert len({soc.number for soc in SOCS}) == len({soc.name for soc in SOCS}) == len(SOCS)
    with pytest.raises(MptqError, match="the SoC exynos is not known; name one of SM8350"):
        soc_by_name("exynos")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")
    made = u8_vit()
    onnx.helper.set_model_props(made, {"mptq.form": "portable"})
    return save(made, tmp_path_factory.mktemp("context") / "m.onnx")


@pytest.mark.parametrize("soc", ["SM8350", "SM8650"])
def test_the_context_binary_gives_what_the_file_gives(soc: str, model: Path, tmp_path: Path):
    out = tmp_path / "out" / "context.onnx"
    made = write_context(model, out, soc)
    assert made.soc.name == soc and out.read_bytes() == made.content
    held = onnx.load(out)
    assert [node.op_type for node in held.graph.node] == ["EPContext"]
    assert {entry.key: entry.value for entry in held.metadata_props} == {"mptq.form": "portable", SOC_KEY: soc}
    file, context = (open_edge("qnn", path, EdgeOptions(soc=soc)) for path in (model, out))
    assert context.device == f"HTP simulator of {soc}"
    for image in IMAGES[:4, None]:
        assert np.array_equal(file.run(image)["y"], context.run(image)["y"])


def test_a_file_that_is_not_whole_has_none_and_nothing_is_written(model: Path, tmp_path: Path):
    other = save(u8_vit(weights=Weights(norm="s8")), tmp_path / "m.onnx")
    with pytest.raises(MptqError, match=r"no context binary of .* for SM8650.*mptq-verify --runtime qnn"):
        write_context(other, tmp_path / "context.onnx", "SM8650")
    assert not (tmp_path / "context.onnx").exists()
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(MptqError, match="exists already"):
        write_context(model, tmp_path / "there.onnx", "SM8650")
