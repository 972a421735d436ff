"""A finished detector as one file: its bits and kernels are those of its own files, or it is not written."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from shutil import copy

import numpy as np
import onnx
import pytest
from api.test_detectors import calibrated, exported, pictures  # noqa: F401 - fixtures
from onnx import numpy_helper
from PIL import Image
from torch import nn

from mptq_export import join_detector, open_detector
from mptq_export.api import ExportResult, load, verify
from mptq_export.export import one_file
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.refusals import check_loaded
from mptq_export.recipe.detector import JOINED_KEY
from mptq_export.support.errors import MptqError
from mptq_export.verify.kernels.plan import read_kernel_plan
from tests.detect.described import FCOS, RCNN
from tests.detect.made_up_files import write_all, write_part


@pytest.fixture(scope="module")
def three_files(exported: ExportResult, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811 - a fixture
    """A Mask R-CNN with a Swin, in integers: a copy, which tests may write beside."""
    folder = tmp_path_factory.mktemp("one")
    for each in (exported, *exported.heads):
        copy(each.onnx, folder)
    return folder / exported.onnx.name


def test_a_mask_r_cnn_of_integers_in_one_file(three_files: Path):
    out = three_files.with_name("one.onnx")
    written = join_detector(three_files, out)
    opened = open_detector(three_files)
    plans = [read_kernel_plan(file.path) for file in opened.files.values()]
    joined = read_kernel_plan(out)
    integer = Counter(kernel.op for plan in plans for kernel in plan.integer)
    assert Counter(kernel.op for kernel in joined.integer) == written.kernels == integer
    assert integer["QGemm"] > 20
    assert {kernel.name.partition(".")[0] for kernel in joined.floating} == {"glue"}
    assert written.compared > 10_000
    # One picture in both: not of the probes, and of another size.
    noise = np.random.default_rng(3).integers(0, 256, (10, 16, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    found = opened.detect(Image.fromarray(noise))
    given = opened.preprocessing
    inputs = given.normalize(given.transform_uint8(Image.fromarray(noise))[None])
    session = one_file.open_session(out)
    boxes, scores, labels, masks = session.run(None, {"input": inputs, "size": np.array(noise.shape[:2], np.int64)})
    assert len(found) > 0
    assert np.array_equal(labels, found.labels)
    np.testing.assert_allclose(boxes, found.boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(scores, found.scores, rtol=0, atol=1e-5)
    assert (masks != np.stack(list(found.masks()))).mean() < 1e-3


def test_the_file_says_that_it_is_float_between_the_networks(tmp_path: Path):
    written = join_detector(write_all(tmp_path / "model.onnx", RCNN), tmp_path / "one.onnx")
    model = onnx.load(tmp_path / "one.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert "float32" in metadata[one_file.FLOAT_KEY] == written.note
    assert written.note in model.doc_string
    assert set(json.loads(metadata[JOINED_KEY])) == {"proposals", "box", "mask"}
    assert metadata["preprocessing.crop_mode"] == '"corner"'
    # It is no exact file, and no part of a detector either.
    assert not {"mptq.form", "mptq.detector", "mptq.contents_sha256", "mptq.preconditions"} & set(metadata)
    assert written.size == (tmp_path / "one.onnx").stat().st_size
    with pytest.raises(MptqError, match="in one file, which needs no other steps"):
        open_detector(tmp_path / "one.onnx")
    with pytest.raises(MptqError, match="float between its networks"):
        verify(tmp_path / "one.onnx")


def test_what_cannot_be_written(tmp_path: Path):
    path = write_all(tmp_path / "model.onnx", RCNN)
    for out in (path, tmp_path / "model.box.onnx"):
        with pytest.raises(MptqError, match="is a file of the detector itself"):
            join_detector(path, out, force=True)
    (tmp_path / "one.onnx").write_text("mine")
    with pytest.raises(MptqError, match="exists already"):
        join_detector(path, tmp_path / "one.onnx")
    assert (tmp_path / "one.onnx").read_text() == "mine"
    (tmp_path / "model.mask.onnx").unlink()
    with pytest.raises(MptqError, match=r"model\.mask\.onnx is not there"):
        join_detector(path, tmp_path / "one.onnx", force=True)
    other = write_part(tmp_path / "other.onnx", FCOS)
    assert join_detector(other, tmp_path / "one.onnx", force=True).size == (tmp_path / "one.onnx").stat().st_size


def test_a_network_that_gives_other_bits_in_one_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    right = one_file.join

    def wrong(*given, **options):
        joined = right(*given, **options)
        for tensor in joined.model.graph.initializer:
            if tensor.name == "network.c1":
                values = numpy_helper.to_array(tensor).copy()
                values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return joined

    monkeypatch.setattr(one_file, "join", wrong)
    with pytest.raises(MptqError, match="onnxruntime gives other bits for network"):
        join_detector(write_part(tmp_path / "model.onnx", FCOS), tmp_path / "one.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_with_fewer_integer_kernels_is_not_written(three_files: Path, monkeypatch: pytest.MonkeyPatch):
    def fewer(path: Path):
        plan = read_kernel_plan(path)
        return replace(plan, matmuls=plan.matmuls[1:]) if path.name.startswith("m.") else plan

    monkeypatch.setattr(one_file, "read_kernel_plan", fewer)
    with pytest.raises(MptqError, match=r"in one file onnxruntime runs .* QGemm"):
        join_detector(three_files, three_files.with_name("other.onnx"))
    assert not three_files.with_name("other.onnx").exists()


def test_what_is_no_detector_is_one_file_already(tmp_path: Path):
    loaded = load(nn.Linear(3, 3), img_size=(1, 3), mean=(0.0,), std=(1.0,), in_chans=1)
    asked = Outputs(tmp_path / "m.onnx", one_file=True)
    with pytest.raises(MptqError, match="--one-file is about detectors"):
        check_loaded(asked, Uniform(), loaded)
