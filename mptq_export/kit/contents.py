"""The files of a kit: golden values, `manifest.json`, and the same as `manifest.tsv` for languages without JSON.

A tensor's values lie in a raw little-endian file, one golden input after the other, C order. Tensors inside a block
have no file, only a CRC-32 of those bytes for every input: enough to name the first one that differs, and the kit
stays small.
"""

import hashlib
import zlib

import numpy as np

from mptq_export.kit.golden import Golden, GoldenRun
from mptq_export.kit.manifest import FORMAT, KIND, MANIFEST, InnerTensor, KitFile, Manifest, Tensor
from mptq_export.support.json_files import json_text
from mptq_export.support.version import __version__

TABLE = "manifest.tsv"
MODEL = "model.onnx"
PROBES = "probes.bin"


def kit_contents(run: GoldenRun, model: bytes, suffix: bytes) -> dict[str, bytes]:
    """Every file of a kit but its runners, by path in the folder.

    Args:
        run: the golden values.
        model: the exported file.
        suffix: what `probe_suffix` gave.
    """
    files = {MODEL: model, PROBES: suffix}
    golden_input = listed_tensor(run.input, files, stored=True)
    outputs = tuple(listed_tensor(output, files, stored=True) for output in run.outputs)
    tensors = tuple(
        InnerTensor(**vars(listed_tensor(golden, files, stored=probe.boundary)), op=probe.op, block=probe.block)
        for probe, golden in run.probes
    )
    manifest = Manifest(
        kind=KIND,
        format=FORMAT,
        made_by=f"mptq-export {__version__}",
        model=MODEL,
        probes=PROBES,
        inputs=len(run.input.values),
        files=listed_files(files),
        input=golden_input,
        outputs=outputs,
        tensors=tensors,
    )
    return {**files, TABLE: _table(manifest).encode(), MANIFEST: json_text(manifest).encode()}


def listed_files(files: dict[str, bytes]) -> tuple[KitFile, ...]:
    """The files of a kit with their sizes and checksums."""
    return tuple(
        KitFile(name, len(data), zlib.crc32(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    )


def listed_tensor(golden: Golden, files: dict[str, bytes], *, stored: bool) -> Tensor:
    """A tensor's line in the manifest; its bytes are added to `files` where they are stored.

    Args:
        golden: its values.
        files: of the kit so far, by path.
        stored: whether the values are kept, and not their checksums alone.
    """
    first = golden.values[0]
    raw = [np.ascontiguousarray(v, v.dtype.newbyteorder("<")).tobytes() for v in golden.values]
    name = None
    if stored:
        # Names in the graph are free text; a number keeps the file names apart and in graph order.
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in golden.name)
        number = sum(name.startswith("golden/") for name in files)
        name = f"golden/{number:02d}-{safe}.bin"
        files[name] = b"".join(raw)
    return Tensor(golden.name, first.dtype.name, first.shape, name, tuple(map(zlib.crc32, raw)))


def _table(manifest: Manifest) -> str:
    """One record a line, fields between tabs; the first field says what it is."""
    rows: list[list[object]] = [["kit", manifest.format, manifest.inputs, manifest.model, manifest.probes]]
    rows += [["file", entry.file, entry.bytes, entry.crc32] for entry in manifest.files]
    kinds = {"input": (manifest.input,), "output": manifest.outputs, "tensor": manifest.tensors}
    for kind, entries in kinds.items():
        for entry in entries:
            shape, checks = (",".join(map(str, numbers)) for numbers in (entry.shape, entry.crc32))
            rows.append([kind, entry.name, entry.dtype, shape, checks, entry.file or "-"])
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
