"""The files of a portable file's kit: model, golden values, `manifest.json`, and the same as `manifest.tsv` for C++."""

from collections.abc import Mapping

from mptq_export.kit.contents import MODEL, TABLE, listed_files, listed_tensor
from mptq_export.kit.manifest import MANIFEST, PORTABLE_KIND, Context, PortableManifest, TolerantTensor
from mptq_export.kit.portable.golden import PortableRun
from mptq_export.runtime.edge.form import TARGET_KEY
from mptq_export.runtime.edge.qnn_context import ContextBinary
from mptq_export.support.json_files import json_text
from mptq_export.support.version import __version__

FORMAT = 1
CONTEXT = "context.onnx"


def portable_contents(
    run: PortableRun, model: bytes, metadata: Mapping[str, str], prepared: ContextBinary | None
) -> dict[str, bytes]:
    """Every file of a kit but its runners, by path in the folder.

    Args:
        run: the golden values and their tolerances.
        model: the exported file.
        metadata: what it says of itself.
        prepared: the same for one SoC; None for none.
    """
    files = {MODEL: model, **({} if prepared is None else {CONTEXT: prepared.content})}
    golden_input = listed_tensor(run.input, files, stored=True)
    outputs = tuple(
        TolerantTensor(
            **vars(listed_tensor(each.golden, files, stored=True)),
            kind=each.kind,
            step=each.step,
            tolerance=each.tolerance,
            spread=each.spread,
        )
        for each in run.outputs
    )
    manifest = PortableManifest(
        kind=PORTABLE_KIND,
        format=FORMAT,
        made_by=f"mptq-export {__version__}",
        target=metadata.get(TARGET_KEY, ""),
        model=MODEL,
        context=None if prepared is None else Context(CONTEXT, prepared.soc),
        inputs=len(run.input.values),
        files=listed_files(files),
        input=golden_input,
        outputs=outputs,
    )
    return {**files, TABLE: _table(manifest).encode(), MANIFEST: json_text(manifest).encode()}


def _table(manifest: PortableManifest) -> str:
    """One record a line, fields between tabs; the first field says what it is, `-` what there is none of."""
    context = manifest.context
    prepared = ("-", "-") if context is None else (context.file, context.soc.number)
    rows: list[list[object]] = [["kit", manifest.format, manifest.inputs, manifest.model, *prepared]]
    rows += [["file", entry.file, entry.bytes, entry.crc32] for entry in manifest.files]
    given = manifest.input
    rows.append(["input", given.name, given.dtype, _shape(given.shape), given.file])
    for each in manifest.outputs:
        allowed = each.tolerance
        limits = ("-" if limit is None else repr(limit) for limit in (allowed.rms, allowed.kl, allowed.lead))
        rows.append(["output", each.name, each.dtype, _shape(each.shape), each.file, each.kind, *limits])
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def _shape(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
