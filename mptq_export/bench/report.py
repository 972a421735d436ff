"""What a benchmark found, as data."""

from dataclasses import asdict, dataclass
from typing import Literal

import onnxruntime as ort

from mptq_export.bench.instruction_set import Cpu
from mptq_export.bench.interleave import Quartiles
from mptq_export.bench.measure_alone import ModelFigures
from mptq_export.runtime.edge.session import Placement
from mptq_export.support.json_files import Json

Runner = Literal["onnxruntime", "openvino", "kernels_ref"]
"""What runs a file."""


@dataclass(frozen=True)
class Elsewhere:
    """A file in another runtime than onnxruntime.

    Attributes:
        version: of the runtime, for people.
        device: what ran it.
        placement: which kernels it made of the file, and what they compute in.
    """

    version: str
    device: str
    placement: Placement


@dataclass(frozen=True)
class ModelReport:
    """One file in one runtime.

    Attributes:
        name: what the tables call it.
        model: path of the file.
        runner: what ran it.
        latency_ms: one run of the whole batch.
        ratio: its time over that of the first model in the same round.
        file_bytes: size of the file, weights beside it included.
        alone: load time, memory and profile in onnxruntime; None for other runners.
        elsewhere: what another runtime says of itself; None for others.
    """

    name: str
    model: str
    runner: Runner
    latency_ms: Quartiles
    ratio: Quartiles
    file_bytes: int
    alone: ModelFigures | None
    elsewhere: Elsewhere | None = None

    def to_json(self) -> dict[str, Json]:
        """The model as plain JSON values."""
        values = asdict(self)
        del values["alone"]
        if self.alone is None:
            return values
        memory = {"idle_bytes": self.alone.idle_bytes, "peak_bytes": self.alone.peak_bytes}
        return {**values, "load_ms": self.alone.load_ms, **memory, "profile": self.alone.profile.to_json()}


@dataclass(frozen=True)
class BenchReport:
    """Several models, timed in turn.

    Attributes:
        cpu: what they ran on.
        threads: of each runtime within an operator.
        batch: inputs a run.
        rounds: timed runs of each.
        models: the models; the first is what the ratios are taken to.
        left_out: why `kernels_ref` did not run a file, a sentence each.
    """

    cpu: Cpu
    threads: int
    batch: int
    rounds: int
    models: tuple[ModelReport, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """The report as plain JSON values."""
        return {
            "cpu": asdict(self.cpu),
            "onnxruntime": ort.__version__,
            "threads": self.threads,
            "batch": self.batch,
            "rounds": self.rounds,
            "left_out": list(self.left_out),
            "models": [model.to_json() for model in self.models],
        }
