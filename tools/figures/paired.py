"""Files on the same images: how close each is to its float model, and how it compares with another one."""

from pathlib import Path

import numpy as np

from mptq_export.evaluate.logits import judge_logits
from mptq_export.evaluate.metrics import (
    Labels,
    Logits,
    divergences,
    in_top_k,
    mean_interval,
    ratio_interval,
    share_interval,
)
from tools.figures.bench import Bench
from tools.figures.models import Model
from tools.figures.show import interval
from tools.figures.table import Figures


def logits_of(bench: Bench, model: Model, path: Path | None) -> tuple[Logits, Labels]:
    """Logits of a file, or of the float model where there is none, and the labels; computed once."""
    name = f"{model.key}-float" if path is None else path.stem
    kept = bench.folder / f"{name}.logits.npz"

    def make(_path: Path) -> Figures:
        given = ("--data", model.val, "--out", kept, *(() if path is None else ("--onnx", path)))
        ran = bench.commands.module("tools.bench.logits", model.checkpoint, *given, log=f"{name}.logits")
        return {"seconds": ran.seconds}

    bench.once(f"{name}.logits", make)
    with np.load(kept) as held:
        return held["logits"], held["labels"]


def judged(bench: Bench, model: Model, path: Path) -> Figures:
    """What ``mptq-eval FILE --data VAL --float MODEL`` says of a file."""
    floats, labels = logits_of(bench, model, None)
    report = judge_logits(logits_of(bench, model, path)[0], floats, labels)
    assert report.floating is not None and report.agreement is not None
    return {
        "images": report.images,
        "top1": report.quantised.top1,
        "float_top1": report.floating.top1,
        "agreement": report.agreement,
        "agreement_interval": share_interval(round(report.agreement * report.images), report.images),
        "kl": report.mean_kl,
        "kl_interval": report.kl_interval,
    }


def compared(bench: Bench, model: Model, path: Path, base: Path) -> Figures:
    """A file beside another one of the same model: each with what other images would give, drawn for both, at 95 %.

    Returns:
        `kl_over`: its divergence over that of the other; `top1_above` and `agreement_above`: differences of shares.
    """
    floats, labels = logits_of(bench, model, None)
    one, other = (logits_of(bench, model, each)[0] for each in (path, base))
    diverges, its = divergences(floats, one), divergences(floats, other)
    right = in_top_k(one, labels, 1).astype(float) - in_top_k(other, labels, 1)
    named = floats.argmax(axis=1)
    agrees = (one.argmax(axis=1) == named).astype(float) - (other.argmax(axis=1) == named)
    return {
        "kl_over": [float(diverges.mean() / its.mean()), *ratio_interval(diverges, its)],
        "top1_above": [float(right.mean()), *mean_interval(right)],
        "agreement_above": [float(agrees.mean()), *mean_interval(agrees)],
    }


def over_cell(found: list[float]) -> str:
    """A ratio and its interval."""
    ratio, *bounds = found
    return f"{ratio:.2f} ({interval(bounds, 1, '.2f')})"


def above_cell(found: list[float]) -> str:
    """A difference of shares in points, and its interval."""
    gain, *bounds = found
    return f"{100 * gain:+.1f} ({interval(bounds, 100, '+.1f')})"
