"""onnxruntime's own quantizer on small models in every setting: what does `mptq-verify` say of its files?

    python -m tools.crosscheck.quantizer_files [--only TEXT] [--every N] [--json FILE]

Each file is run on calm, wild, constant and extreme inputs, on one thread and on two. A line for each way to quantize:
files that are exact; equal on these inputs; without a claim (the first tensor that differs is one of which kernels_ref
claims no bits, as of a float sum); different (it claims them: a defect); refused. Exit status 1 if any is different.
"""

import argparse
import itertools
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from mptq_export.verify.report import VerifyReport
from tools.crosscheck.quantizer_models import MODELS

VERDICTS = ("exact", "equal on these inputs", "no claim", "different", "refused")
_BATCH = 2
_TYPES = {
    "u8": QuantType.QUInt8,
    "s8": QuantType.QInt8,
    "u16": QuantType.QUInt16,
    "s16": QuantType.QInt16,
    "u4": QuantType.QUInt4,
    "s4": QuantType.QInt4,
}
_EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "contrib": {"UseQDQContribOps": True},
    "symmetric": {"ActivationSymmetric": True, "WeightSymmetric": True},
    "float bias": {"QuantizeBias": False},
    "pairs": {"DedicatedQDQPair": True},
    "pair of the weight": {"AddQDQPairToWeight": True},
    "keep": {"QDQKeepRemovableActivations": True, "QDQDisableWeightAdjustForInt32Bias": True},
}


@dataclass(frozen=True)
class Setting:
    """One way to quantize: `apply` reads a float model and writes a file."""

    name: str
    apply: Callable[[onnx.ModelProto, Path], None]


def settings() -> Iterator[Setting]:
    """Every setting; the same ones in the same order on every call."""
    eight = (("u8", "s8"), ("u8", "u8"), ("s8", "s8"))
    other = (("u16", "s8"), ("s16", "s8"), ("s16", "s16"), ("u8", "s4"), ("u16", "s4"))
    per = ((False, "tensor"), (True, "channel"))
    for (a, w), (per_channel, which), reduced, extra in itertools.product(eight, per, (False, True), _EXTRAS):
        name = f"QDQ {a}{w} per {which}{' reduced' if reduced else ''}, {extra}"
        yield Setting(name, partial(_static, QuantFormat.QDQ, a, w, per_channel, reduced, _EXTRAS[extra]))
    for (a, w), (per_channel, which) in itertools.product(other, per):
        yield Setting(f"QDQ {a}{w} per {which}", partial(_static, QuantFormat.QDQ, a, w, per_channel, False, {}))
    for (a, w), (per_channel, which), reduced in itertools.product(eight, per, (False, True)):
        name = f"QOperator {a}{w} per {which}{' reduced' if reduced else ''}"
        yield Setting(name, partial(_static, QuantFormat.QOperator, a, w, per_channel, reduced, {}))
    for w, (per_channel, which), reduced in itertools.product(("u8", "s8"), per, (False, True)):
        yield Setting(
            f"dynamic {w} per {which}{' reduced' if reduced else ''}", partial(_dynamic, w, per_channel, reduced)
        )
    for kind, (symmetric, block) in itertools.product(
        (QuantFormat.QDQ, QuantFormat.QOperator), ((True, 16), (False, 32))
    ):
        yield Setting(
            f"MatMulNBits {kind.name}, block {block}{' symmetric' if symmetric else ''}",
            partial(_nbits, kind, symmetric, block),
        )


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, model: onnx.ModelProto) -> None:
        shape = [dim.dim_value or _BATCH for dim in model.graph.input[0].type.tensor_type.shape.dim]
        rng = np.random.default_rng(1)
        self._left = iter([{"input": rng.standard_normal(shape).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def _static(
    form: QuantFormat,
    activation: str,
    weight: str,
    per_channel: bool,
    reduce_range: bool,
    extra: dict[str, Any],
    model: onnx.ModelProto,
    path: Path,
) -> None:
    quantize_static(
        model,
        path,
        _Calibration(model),
        quant_format=form,
        activation_type=_TYPES[activation],
        weight_type=_TYPES[weight],
        per_channel=per_channel,
        reduce_range=reduce_range,
        extra_options=extra,
    )


def _dynamic(weight: str, per_channel: bool, reduce_range: bool, model: onnx.ModelProto, path: Path) -> None:
    quantize_dynamic(model, path, per_channel=per_channel, reduce_range=reduce_range, weight_type=_TYPES[weight])


def _nbits(form: QuantFormat, symmetric: bool, block: int, model: onnx.ModelProto, path: Path) -> None:
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, quant_format=form)
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


def inputs(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
    """Batches for a model: calm, wild, faint, of zeros, constant, and of two extreme values."""
    shape = [dim.dim_value or _BATCH for dim in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    noise = [scale * rng.standard_normal(shape) for scale in (1.0, 8.0, 0.1)]
    made = [*noise, np.zeros(shape), np.full(shape, 3.0), rng.choice([-100.0, 100.0], shape)]
    return [batch.astype(np.float32) for batch in made]


def classify(path: Path, batches: list[NDArray[np.float32]]) -> tuple[str, str]:
    """The verdict on a file, and what decided it.

    Returns:
        ``exact``, ``equal on these inputs``, ``no claim``, ``different`` or ``refused``; the reasons.
    """
    try:
        reports = [verify_model(path, batches[start::2], threads=start + 1) for start in (0, 1)]
    except MptqError as error:
        return "refused", str(error).replace(str(path), "the file")
    for report in reports:
        if report.verdict == "different":
            return _first_difference(path, report)
    verdict = max((report.verdict for report in reports), key=("exact", "equal on these inputs").index)
    return verdict, "; ".join(dict.fromkeys(reason for report in reports for reason in report.reservations))


def _first_difference(path: Path, report: VerifyReport) -> tuple[str, str]:
    """Whether the first tensor that differs is one without a claim, or comes of one that could not be compared."""
    if not report.diverging:
        return "different", "an output"
    producers = {name: node for node in onnx.load(path).graph.node for name in node.output}
    compared = {tensor.name for tensor in report.tensors if tensor.status not in ("fused", "unreadable")}
    pending = [report.diverging[0].name]
    while pending:
        name = pending.pop()
        if name in report.unclaimed:
            return "no claim", f"{name}: {report.unclaimed[name]}"
        if name in producers:
            pending += [source for source in producers[name].input if source not in compared]
    return "different", report.diverging[0].name


def files(folder: Path, only: str = "", every: int = 1) -> Iterator[tuple[str, str, Path, onnx.ModelProto]]:
    """Quantize the models, one file at a time.

    Args:
        folder: where the file is written, over the one before.
        only: a text that model and setting together must hold.
        every: take one of so many.

    Yields:
        Model, setting, file, and the float model.
    """
    names = [(model, setting) for model in MODELS for setting in settings() if only in f"{model} {setting.name}"]
    built: dict[str, onnx.ModelProto] = {}
    for model, setting in names[::every]:
        if model not in built:
            built = {model: MODELS[model]()}
        copy = onnx.ModelProto()
        copy.CopyFrom(built[model])
        path = folder / "quantized.onnx"
        setting.apply(copy, path)
        yield model, setting.name, path, built[model]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="a text that model and setting must hold")
    parser.add_argument("--every", type=int, default=1, help="take one of so many files")
    parser.add_argument("--json", type=Path, help="write every verdict with its reasons")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the quantizer's advice
    found: list[tuple[str, str, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model, setting, path, original in files(Path(folder), options.only, options.every):
            found.append((model, setting, *classify(path, inputs(original))))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(f"{'':24}{'files':>7}" + "".join(f"{verdict:>24}" for verdict in VERDICTS))
    groups = dict.fromkeys(_group(setting) for _, setting, _, _ in found)
    for group in (*groups, ""):
        counts = Counter(verdict for _, setting, verdict, _ in found if not group or _group(setting) == group)
        cells = "".join(f"{counts[verdict]:24}" for verdict in VERDICTS)
        print(f"{group or 'all':24}{counts.total():7}{cells}")
    return int(any(verdict == "different" for _, _, verdict, _ in found))


def _group(setting: str) -> str:
    kind, _, rest = setting.partition(" ")
    return f"{kind} {rest.split()[0]}" if kind in ("QDQ", "QOperator") else kind


if __name__ == "__main__":
    sys.exit(main())
