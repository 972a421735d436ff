"""What a kit cannot be: one line that says so, and nothing half written."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.cli.export import main
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Searched
from mptq_export.kit import golden
from mptq_export.kit.write import write_kit
from mptq_export.support.errors import MptqError

INPUTS = [np.zeros((1, 3, 32, 32), np.float32), np.ones((1, 3, 32, 32), np.float32)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """A function that runs the command on a model that is never read: the folder is looked at first."""

    def check(*arguments: object) -> str:
        before = tree(tmp_path)
        words = [str(word) for word in (tmp_path / "m.pt", "-o", tmp_path / "m.onnx", *arguments)]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2, (result.output, result.exception)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert tree(tmp_path) == before
        return result.stderr

    return check


def test_a_folder_that_is_not_empty_needs_force(kit: Path, refused: Callable[..., str]) -> None:
    assert "is not empty; pass --force" in refused("--kit", kit)


def test_force_replaces_kits_only(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"1")
    assert "holds no kit" in refused("--kit", tmp_path / "mine", "--force")
    (tmp_path / "mine" / "manifest.json").write_text('{"kind": "something else", "files": []}')
    assert "holds no kit" in refused("--kit", tmp_path / "mine", "--force")


def test_a_file_is_no_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_bytes(b"1")
    assert "it is a file; name a folder" in refused("--kit", tmp_path / "file")
    assert "is a file; choose another folder" in refused("--kit", tmp_path / "file" / "kit")


def test_other_outputs_stay_outside(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "kit").mkdir()
    assert "would hold" in refused("-o", tmp_path / "kit" / "m.onnx", "--kit", tmp_path / "kit")
    assert "would hold" in refused("--kit", tmp_path)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "at least one input"),
        ([INPUTS[0], INPUTS[1][:, :, 1:]], "all of one shape"),
        ([INPUTS[0].astype(np.uint8)], "takes float32, not uint8"),
        ([INPUTS[0][:, :1]], "check the input's shape"),
    ],
)
def test_inputs_that_do_not_fit(exported: Path, tmp_path: Path, inputs: list[Any], words: str) -> None:
    with pytest.raises(MptqError, match=words):
        write_kit(exported / "digits.onnx", inputs, tmp_path / "kit")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(MptqError, match="is not an ONNX file"):
        write_kit(tmp_path / "m.onnx", INPUTS, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_a_reference_that_disagrees(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = golden.open_reference

    def other(path: Path) -> Any:
        run = opened(path)
        return lambda feed: {name: values + values.dtype.type(1) for name, values in run(feed).items()}

    monkeypatch.setattr(golden, "open_reference", other)
    with pytest.raises(MptqError, match="logits differs between onnxruntime and kernels_ref"):
        write_kit(exported / "digits.onnx", INPUTS, tmp_path / "kit")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MptqError, match="No space left on device"):
        write_kit(exported / "digits.onnx", INPUTS, tmp_path / "kit")
    assert list(tmp_path.iterdir()) == []


def test_force_keeps_what_is_not_the_kits(exported: Path, kit: Path) -> None:
    (kit / "node_modules").mkdir()
    (kit / "node_modules" / "x").write_bytes(b"1")
    manifest = (kit / "manifest.json").read_text()
    (kit / "manifest.json").write_text(manifest.replace("golden/01-logits.bin", "golden/01-old.bin"))
    (kit / "golden" / "01-old.bin").write_bytes(b"1")
    write_kit(exported / "digits.onnx", INPUTS, kit, force=True)
    assert set(tree(kit)) == {*tree(exported / "kit"), "node_modules/x"}
    assert (kit / "golden" / "00-input.bin").read_bytes() == b"".join(array.tobytes() for array in INPUTS)


def test_a_new_folder_is_made_with_those_above_it(exported: Path, tmp_path: Path) -> None:
    write_kit(exported / "digits.onnx", INPUTS, tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_each_budget_has_its_own_kit(tmp_path: Path) -> None:
    def kits(folder: Path | None, *budgets: str) -> list[Path | None]:
        settings = SearchRequest(
            tuple(map(Budget.parse, budgets)), WidthDomain.of_range(range(3, 9)), tied=False, pins={}
        )
        outputs = Outputs(tmp_path / "m.onnx", kit=folder).of_each(Searched(settings))
        return [one.kit for one in outputs]

    assert kits(tmp_path, "4.5") == [tmp_path]
    assert kits(tmp_path, "4.5", "6") == [tmp_path / "4.5", tmp_path / "6"]
    assert kits(None, "4.5", "6") == [None, None]
