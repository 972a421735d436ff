"""A file, made and evaluated as a user would: what it took, and how close it is to its float model."""

import json
from pathlib import Path

from mptq_export.evaluate.metrics import share_interval
from tools.figures.bench import Bench
from tools.figures.models import Model, decimals_of, title_of
from tools.figures.show import interval, percent
from tools.figures.table import Figures


def deployed(bench: Bench, model: Model, bits: str, method: str, *, images: bool = True) -> Figures:
    """The figures of one file, exported with or without calibration images."""
    exported = bench.export(model, bits, method, images=images)
    evaluated = _evaluated(bench, model, exported.path)
    return {"model": model.key, "bits": bits, "method": method, **exported.facts, **evaluated}


def _evaluated(bench: Bench, model: Model, path: Path) -> Figures:
    report = path.with_suffix(".eval.json")
    given = (path, "--data", model.val, "--float", model.checkpoint, "--json", report)
    bench.commands.console("eval", *given, log=f"{path.stem}.eval")
    found = json.loads(report.read_text(encoding="utf-8"))
    agreeing = round(found["agreement"] * found["images"])
    return {
        "images": found["images"],
        "top1": found["quantised"]["top1"],
        "float_top1": found["floating"]["top1"],
        "agreement": found["agreement"],
        "agreement_interval": share_interval(agreeing, found["images"]),
        "kl": found["mean_kl"],
        "kl_interval": found["kl_interval"],
    }


#: What `closeness` has a cell for.
CLOSENESS = ("top-1", "float", "agreement with float", "KL, nats")


def closeness(row: Figures) -> tuple[str, ...]:
    """The cells that say how close a file is to its float model; in brackets what other images would give, at 95 %."""
    digits = decimals_of(row["model"])
    return (
        percent(row["top1"], digits),
        percent(row["float_top1"], digits),
        f"{percent(row['agreement'], digits)} ({interval(row['agreement_interval'], 100, '.1f')})",
        f"{row['kl']:.5f} ({interval(row['kl_interval'], 1, '.5f')})",
    )


def name_of(row: Figures) -> tuple[str, str, str]:
    """The cells that say which file it is."""
    return title_of(row["model"]), row["bits"], f"`{row['method']}`"
