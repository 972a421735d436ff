"""The main job on real checkpoints: exact, integer, and as accurate as float on real images."""

from pathlib import Path

import numpy as np
import pytest

from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import agreement
from mptq_export.load.model import load_model
from mptq_export.pipeline import ExportRequest, export_model
from mptq_export.verify.compare import verify_model
from mptq_export.verify.session import open_session


@pytest.mark.parametrize("name", ["deit_tiny_imagenette", "vit_small_imagenette"])
def test_a_real_checkpoint_is_exact_and_accurate(assets: Path, tmp_path: Path, name: str):
    out = tmp_path / "m.onnx"
    checkpoint = str(assets / f"{name}.pt")
    export_model(ExportRequest(model=checkpoint, out=out, calib=assets / "imagenette" / "calib", count=16))
    loaded = load_model(checkpoint)
    folder = ImageFolder(assets / "imagenette" / "val", loaded.preprocessing, limit=24, labels=True)
    inputs = [loaded.preprocessing.normalize(pixels) for pixels in folder.batches(8)]

    report = verify_model(out, [inputs[0][:2]])
    assert report.passed
    assert len(report.plan.integer) == 74

    import torch

    session = open_session(out)
    got = np.concatenate([session.run(["logits"], {"input": batch})[0] for batch in inputs])
    with torch.no_grad():
        expected = np.concatenate([loaded.model(torch.from_numpy(batch)).numpy() for batch in inputs])
    assert agreement(got, expected) >= 0.95
