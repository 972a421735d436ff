"""Files of preprocessed inputs."""

from pathlib import Path

import numpy as np
import pytest

from mptq_export.data.arrays import open_inputs
from mptq_export.errors import MptqError

SIZE = (3, 4, 5)


def inputs(count: int = 70) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *SIZE)).astype(np.float32)


def refusal(path: Path) -> str:
    with pytest.raises(MptqError) as caught:
        open_inputs(path, SIZE)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_npy_stays_on_disk(tmp_path: Path):
    np.save(tmp_path / "x.npy", inputs())
    array = open_inputs(tmp_path / "x.npy", SIZE)
    assert isinstance(array, np.memmap)
    assert np.array_equal(array, inputs())


@pytest.mark.parametrize("compress", [True, False])
def test_npz(tmp_path: Path, compress: bool):
    write = np.savez_compressed if compress else np.savez
    write(tmp_path / "x.npz", inputs())
    write(tmp_path / "y.npz", other=np.zeros(3), images=inputs())
    for name in ("x.npz", "y.npz"):
        assert np.array_equal(open_inputs(tmp_path / name, SIZE), inputs())


@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (3, 4, 5), (0, 3, 4, 5), (2, 3, 4, 6)])
def test_shape(tmp_path: Path, shape: tuple[int, ...]):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    assert "[inputs, 3, 4, 5]" in refusal(tmp_path / "x.npy")


def test_pixels_are_not_inputs(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.zeros((2, *SIZE), np.uint8))
    assert "uint8" in refusal(tmp_path / "x.npy")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(tmp_path: Path, bad: float):
    array = inputs()
    array[66, 1, 2, 3] = bad
    np.save(tmp_path / "x.npy", array)
    assert "input 66 holds NaN or Inf" in refusal(tmp_path / "x.npy")


def test_missing(tmp_path: Path):
    assert "does not exist" in refusal(tmp_path / "x.npy")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated(tmp_path: Path, suffix: str, share: float):
    path = tmp_path / f"x.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, inputs())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cannot be read" in refusal(path)


def test_objects_are_not_unpickled(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([object()]), allow_pickle=True)
    assert "cannot be read" in refusal(path)
    np.savez(tmp_path / "x.npz")
    assert "no arrays" in refusal(tmp_path / "x.npz")
