"""Golden values in a dossier: those of the kit that lies in its folder."""

from collections.abc import Mapping

from mptq_export.dossier.contents import Golden, GoldenTensor
from mptq_export.kit.manifest import Manifest, Tensor


def golden_of(manifest: Manifest, origin: str, folder: str) -> Golden:
    """The golden values of a kit.

    Args:
        manifest: of the kit.
        origin: what its inputs are, for people.
        folder: of the kit in that of the dossier.
    """
    hashes = {entry.file: entry.sha256 for entry in manifest.files}
    tensors = (
        _tensor(manifest.input, "input", hashes, folder),
        *(_tensor(each, "inner", hashes, folder) for each in manifest.tensors),
        *(_tensor(each, "output", hashes, folder) for each in manifest.outputs),
    )
    return Golden(origin, manifest.inputs, tensors)


def _tensor(tensor: Tensor, role: str, hashes: Mapping[str, str], folder: str) -> GoldenTensor:
    return GoldenTensor(
        name=tensor.name,
        role=role,
        dtype=tensor.dtype,
        shape=tensor.shape,
        crc32=tensor.crc32,
        file=None if tensor.file is None else f"{folder}/{tensor.file}",
        sha256=None if tensor.file is None else hashes[tensor.file],
    )
