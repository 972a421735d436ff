"""Layers of any widths beside each other on Qualcomm's HTP simulator: whole, in integers, and what the file says."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from portable import as_written
from tiny_models import calibrated_graph

from mptq_export.allocate.units import layers
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.method import MINMAX
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.runtime.edge.opening import open_edge

pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")


@pytest.mark.parametrize(("kind", "residual"), [("vit", 16), ("swin", 8)])
def test_any_widths_beside_each_other(tmp_path: Path, kind: str, residual: int):
    form, calibrated = form_for("qnn", residual), calibrated_graph(kind)
    assert isinstance(form, Portable)
    calibrated = calibrated.of_graph(graph_for(form, calibrated.graph, "float32"))
    draw = np.random.default_rng(0)
    widths = {node.name: (int(draw.choice([4, 8])), int(draw.choice([8, 16]))) for node in layers(calibrated.graph)}
    graph, recipe = build_recipe(calibrated, widths.__getitem__, MINMAX, form=form)
    where = form.sites(graph.cast(torch.float32), widths.__getitem__)
    file = emit_portable(where.graph, recipe, where, input_type="float32", producer="test")
    onnx.save(file, tmp_path / "m.onnx")
    session = open_edge("qnn", tmp_path / "m.onnx")
    assert not session.placement.left
    assert not session.placement.floating
    image = calibrated.images[:1].numpy()
    (there,), (written,) = session.run(image).values(), as_written(file).run(None, {"input": image})
    assert np.square(there - written).sum() < 0.01 * np.square(written).sum()  # 20 dB; random weights, some of 4 bits
