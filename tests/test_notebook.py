"""The example notebook runs from its first cell to its last, and says what it promises."""

import os
import shutil
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


def test_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(REPO / "examples", tmp_path / "examples")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(tmp_path / "examples" / "quickstart.ipynb", as_version=4)
    where = {"metadata": {"path": str(tmp_path / "examples")}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert "\n0 of " in f"\n{said}" and "values differ on 8 images" in said
    assert ", 0 in float" in said
    assert "blocks.1.mlp.fc2: " in said
    assert "logits (logits), image_embeds (embedding), last_hidden_state (tokens), patch_scores (values)" in said
    assert "16 inputs of a DataLoader" in said
    assert "['logits', 'image_embeds', 'last_hidden_state', 'patch_scores'] - 0 values differ" in said
    assert [output for output in outputs if output.get("name") == "stderr"] == []  # no warnings of libraries either
