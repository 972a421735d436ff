"""Tables whose rows other tools measure, where they can: their JSON is taken in, stamped with commit and machine.

Simulators take hours and several environments, so nothing here measures: `python -m tools.figures adopt TABLE FILE`
reads what the tool of the table wrote. A row that comes again, by its key, replaces the one of before.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.figures import ablation
from tools.figures.context import Context
from tools.figures.detection import accuracy_markdown, accuracy_rows, latency_markdown, latency_rows
from tools.figures.show import interval, markdown_table, percent
from tools.figures.store import Measured
from tools.figures.table import Document, Figures, Row

Keyed = Iterator[tuple[str, Figures]]
"""Rows with their keys."""


@dataclass(frozen=True)
class AdoptedTable:
    """One question, answered by another tool.

    Attributes:
        name: of its JSON file, and of its marked region in the pages.
        command: what writes the JSON that is taken in.
        read: its rows, from the parsed JSON of a file.
        markdown: the rows as a Markdown table.
    """

    name: str
    command: str
    read: Callable[[Any], Keyed]
    markdown: Callable[[Document], str]


def adopt(table: AdoptedTable, files: list[Path], context: Context, measured: Measured) -> int:
    """Take in the rows of files; gives how many.

    Raises:
        SystemExit: a file is not what the table's tool writes.
    """
    found: list[tuple[str, Figures]] = []
    for path in files:
        try:
            found += table.read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path} is not what `{table.command}` writes: {error!r}") from error
    for key, figures in found:
        measured.add(table.name, key, context, figures)
    return len(found)


def adopted_rows(table: AdoptedTable, lines: dict[tuple[str, str], Any]) -> list[Row]:
    """The rows of a table that were taken in, in that order."""
    return [Row(key, key, _measured_elsewhere) for name, key in lines if name == table.name]


def caption(table: AdoptedTable, document: Document) -> str:
    """What the rows were measured with, and on what."""
    versions = ", ".join(f"{name} {document.versions[name]}" for name in ("onnxruntime", "torch"))
    return f"`{table.command}`. Commit {document.commit}; {versions}; {'; '.join(document.machines)}."


def _measured_elsewhere(_bench: object) -> Figures:
    raise SystemExit("this row is measured by another tool; see `python -m tools.figures adopt --help`")


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _kl(value: float | None, bounds: Any = None) -> str:
    if value is None:
        return ""
    return f"{value:.5f}" + (f" ({interval(bounds, 1, '.5f')})" if bounds else "")


def _htp(content: Any) -> Keyed:
    """The list of rows of `tools.bench.htp`."""
    for row in content:
        name = Path(row["file"]).stem
        yield f"{name} {row['device']}", {**row, "file": name}


def _htp_markdown(document: Document) -> str:
    head = ("file", "bits", "device", "whole", "integers", "images", "top-1", "as written", "float")
    more = ("KL to float", "as written", "top-1 equal")
    rows = [
        (
            row["file"],
            row["bits"],
            row["device"],
            "yes" if row["whole"] else f"no: {', '.join(row['left'])}",
            "yes" if row["in_integers"] else f"no: {', '.join(row['left'])}",
            str(row["images"]),
            _share(row["top1"]),
            _share(row["top1_written"]),
            _share(row["top1_float"]),
            _kl(row["kl"], row["kl_interval"]),
            _kl(row["kl_written"]),
            f"{percent(row['agreement'])} ({interval(row['agreement_interval'], 100, '.1f')})",
        )
        for row in document.rows
    ]
    return markdown_table((*head, *more), rows)


def _openvino(content: Any) -> Keyed:
    """`tools.bench.openvino_forms`: a row a precision and form."""
    for table in content["tables"]:
        for row in table["models"]:
            kept = {key: value for key, value in row.items() if key != "kernels"}
            figures = {"model": content["model"], "images": content["images"], "precision": table["precision"], **kept}
            yield f"{content['model']} {content['cpu']['name']} {table['precision']} {row['form']}", figures


def _onnxruntime(content: Any) -> Keyed:
    """`tools.bench.onnxruntime_forms`: a row a form."""
    for row in content["models"]:
        figures = {"model": content["model"], "images": content["images"], **row}
        yield f"{content['model']} {content['cpu']['name']} {row['form']}", figures


def _forms_markdown(document: Document) -> str:
    """Latency and closeness of forms; ratios are to the tool's base, of the same round."""
    threads = [timing["threads"] for timing in document.rows[0]["timings"]] if document.rows else []
    precise = any("precision" in row for row in document.rows)
    heads = [head for number in threads for head in (f"ms, {number} threads", "over base")]
    head = ("model", *(("floats",) if precise else ()), "form", *heads, "images", "KL to float", "top-1 equal", "top-1")
    rows = []
    for row in document.rows:
        times = []
        for timing in row["timings"]:
            ratio = timing["over_base"]
            bounds = interval((ratio["low"], ratio["high"]), 1, ".2f")
            times += [f"{timing['latency_ms']['median']:.2f}", f"{ratio['median']:.2f} ({bounds})"]
        named = (Path(row["model"]).stem, *((row["precision"],) if precise else ()), row["form"])
        close = (_kl(row.get("kl")), _share(row.get("agreement")), _share(row.get("top1")))
        rows.append((*named, *times, str(row["images"]) if "kl" in row else "", *close))
    return markdown_table(head, rows)


def _elsewhere(content: Any) -> Keyed:
    """One report of `mptq-verify --runtime --json`: a row an output."""
    ops = [] if content["placement"] is None else content["placement"]["ops"]
    for output in content["outputs"]:
        name = Path(content["model"]).stem
        yield (
            f"{name} {content['runtime']} {content['device']} {output['output']}",
            {
                "file": name,
                "target": content["target"],
                "output": output["output"],
                "runtime": content["version"],
                "device": content["device"],
                "verdict": content["verdict"],
                "ops": sum(op["count"] for op in ops),
                "left": sum(op["count"] for op in ops if not op["accelerated"]),
                "inputs": content["inputs"],
                "beside_file": output["beside_file"],
                "kl_float": (output["beside_float"] or {}).get("mean_kl"),
                "codes": output["codes"],
            },
        )


def _elsewhere_markdown(document: Document) -> str:
    head = ("file", "target", "runtime", "device", "verdict", "ops", "left to the CPU", "inputs", "output")
    more = ("codes equal", "off by, mean", "SQNR to the file, dB", "top-1 equal", "KL to float")
    rows = []
    for row in document.rows:
        beside, codes = row["beside_file"], row["codes"]
        inputs = ", ".join(f"{count} {kind}" for kind, count in row["inputs"].items())
        rows.append(
            (
                row["file"],
                row["target"],
                row["runtime"],
                row["device"],
                row["verdict"],
                str(row["ops"]),
                str(row["left"]),
                inputs,
                row["output"],
                "" if codes is None else percent(codes["off_by"]["0"] / max(codes["values"], 1)),
                "" if codes is None else f"{codes['mean']:.2g}",
                "equal" if beside["sqnr_db"] is None else f"{beside['sqnr_db']:.1f}",
                _share(beside["agreement"]),
                _kl(row["kl_float"]),
            )
        )
    return markdown_table((*head, *more), rows)


def _methods(content: Any) -> Keyed:
    """`tools.bench.portable_methods`: a row a form and method."""
    for row in content["rows"]:
        figures = {"model": content["model"], "images": content["images"], **row}
        yield f"{content['model']} {row['form']} {row['method']}", figures


def _methods_markdown(document: Document) -> str:
    head = ("model", "form", "method", "images", "KL to float", "top-1 equal", "top-1", "float")
    rows = [
        (
            Path(row["model"]).stem,
            f"`{row['form']}`",
            row["method"],
            str(row["images"]),
            _kl(row["kl"], row["kl_interval"]),
            f"{percent(row['agreement'])} ({interval(row['agreement_interval'], 100, '.1f')})",
            percent(row["top1"]),
            percent(row["float_top1"]),
        )
        for row in document.rows
    ]
    return markdown_table(head, rows)


_FORMS = "CHECKPOINT --calib DIR --val DIR --keep DIR --json FILE"

ADOPTED: tuple[AdoptedTable, ...] = (
    AdoptedTable("htp", "python -m tools.bench.htp FILES --data VAL --out DIR --json FILE", _htp, _htp_markdown),
    AdoptedTable("openvino-forms", f"python -m tools.bench.openvino_forms {_FORMS}", _openvino, _forms_markdown),
    AdoptedTable(
        "onnxruntime-forms", f"python -m tools.bench.onnxruntime_forms {_FORMS}", _onnxruntime, _forms_markdown
    ),
    AdoptedTable("elsewhere", "mptq-verify FILE --runtime RUNTIME --json FILE", _elsewhere, _elsewhere_markdown),
    AdoptedTable(
        "portable-methods",
        "python -m tools.bench.portable_methods MODEL --calib DIR --val DIR --json FILE",
        _methods,
        _methods_markdown,
    ),
    AdoptedTable(
        "ablation",
        "python -m tools.bench.ablation MODEL --calib DIR --val DIR --out DIR --json FILE",
        ablation.read,
        ablation.markdown,
    ),
    # Two tables of one tool: a table has one set of versions, and these were not measured on one machine.
    *(
        AdoptedTable(
            name,
            "python -m tools.bench.detection MODEL --calib DIR --data DIR --out DIR --json FILE",
            accuracy_rows,
            accuracy_markdown,
        )
        for name in ("detection", "detection-sets")
    ),
    AdoptedTable(
        "detection-latency",
        "python -m tools.bench.detection_latency MODEL.onnx --float FLOAT.onnx --data DIR --json FILE",
        latency_rows,
        latency_markdown,
    ),
)
