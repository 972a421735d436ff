"""The kit's list of contents: `manifest.json`, and the same in `manifest.tsv` for languages without a JSON reader.

A tensor's values lie in a raw little-endian file, one golden input after the other, C order. Tensors inside a block
have no file, only a CRC-32 of those bytes for every input: enough to name the first one that differs, and the kit
stays small.
"""

import hashlib
import json
import zlib
from typing import Any

import numpy as np

from mptq_export import __version__
from mptq_export.kit.folder import KIND, MANIFEST
from mptq_export.kit.golden import Golden, GoldenRun

TABLE = "manifest.tsv"
MODEL = "model.onnx"
PROBES = "probes.bin"

_FORMAT = 1


def kit_contents(run: GoldenRun, model: bytes, suffix: bytes) -> dict[str, bytes]:
    """Every file of a kit but its runners, by path in the folder.

    Args:
        run: the golden values.
        model: the exported file.
        suffix: what `probe_suffix` gave.
    """
    files = {MODEL: model, PROBES: suffix}
    golden_input = _entry(run.input, files, stored=True)
    outputs = [_entry(output, files, stored=True) for output in run.outputs]
    tensors = [
        {**_entry(golden, files, stored=probe.boundary), "op": probe.op, "block": probe.block}
        for probe, golden in run.probes
    ]
    manifest = {
        "kind": KIND,
        "format": _FORMAT,
        "made_by": f"mptq-export {__version__}",
        "model": MODEL,
        "probes": PROBES,
        "inputs": len(run.input.values),
        "files": [
            {"file": name, "bytes": len(data), "crc32": zlib.crc32(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ],
        "input": golden_input,
        "outputs": outputs,
        "tensors": tensors,
    }
    return {
        **files,
        TABLE: _table(manifest).encode(),
        MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(),
    }


def _entry(golden: Golden, files: dict[str, bytes], *, stored: bool) -> dict[str, Any]:
    """A tensor's line in the manifest; its bytes are added to `files` where they are stored."""
    first = golden.values[0]
    parts = [np.ascontiguousarray(v, v.dtype.newbyteorder("<")).tobytes() for v in golden.values]
    name = None
    if stored:
        # Names in the graph are free text; a number keeps the file names apart and in graph order.
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in golden.name)
        name = f"golden/{len(files) - 2:02d}-{safe}.bin"
        files[name] = b"".join(parts)
    return {
        "name": golden.name,
        "dtype": first.dtype.name,
        "shape": list(first.shape),
        "file": name,
        "crc32": [zlib.crc32(part) for part in parts],
    }


def _table(manifest: dict[str, Any]) -> str:
    """One record a line, fields between tabs; the first field says what it is."""
    rows: list[list[object]] = [["kit", manifest["format"], manifest["inputs"], manifest["model"], manifest["probes"]]]
    rows += [["file", entry["file"], entry["bytes"], entry["crc32"]] for entry in manifest["files"]]
    kinds = {"input": [manifest["input"]], "output": manifest["outputs"], "tensor": manifest["tensors"]}
    for kind, entries in kinds.items():
        for entry in entries:
            shape, checks = (",".join(map(str, entry[key])) for key in ("shape", "crc32"))
            rows.append([kind, entry["name"], entry["dtype"], shape, checks, entry["file"] or "-"])
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
