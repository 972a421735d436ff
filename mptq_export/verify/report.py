"""What a verification found, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import onnxruntime as ort

from mptq_export.support.json_files import Json
from mptq_export.verify.code_functions.exhaustive import TableCheck
from mptq_export.verify.difference import Difference
from mptq_export.verify.inputs.sets import InputKind
from mptq_export.verify.kernels.plan import KernelPlan
from mptq_export.verify.origin import Origin

Status = Literal["compared", "folded", "certified", "fused", "unreadable"]
Verdict = Literal["exact", "equal on these inputs", "different", "not run"]


@dataclass(frozen=True)
class TensorReport:
    """One tensor of the original graph.

    Attributes:
        name: the tensor's name.
        op: the op that makes it.
        status: ``compared`` at run time; ``folded`` into a constant at load, and that constant compared; ``certified``:
            the float result of Exp or Gelu before it becomes a code, held to its margin (see `certified`); ``fused``:
            inside a fused kernel or optimised away, so that the runtime has no such tensor; ``unreadable``: of a
            type that the runtime cannot hand out.
        difference: how many values differ; empty unless compared. For ``certified`` it counts the values outside the
            margin, and `largest` is in steps.
    """

    name: str
    op: str
    status: Status
    difference: Difference

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, the difference's beside the name."""
        return {"name": self.name, "op": self.op, "status": self.status, **self.difference.to_json()}


@dataclass(frozen=True)
class VerifyReport:
    """One file, onnxruntime against `kernels_ref`.

    Attributes:
        model: path of the file.
        samples: number of inputs, over all batches; 0 for a file that was not run because it is not its recipe's.
        threads: onnxruntime's threads within an operator; 0 is its own choice.
        tensors: every tensor that a node of the original graph makes, in graph order.
        runtime_made: tensors of onnxruntime's optimised graph that the file does not have.
        outputs: the default session's outputs against the reference.
        instrumented: the default session's outputs against those of the session whose tensors were compared; a
            difference means that other kernels ran and the comparison says nothing.
        plan: which kernel each matmul ran as.
        origin: whether the file is as it was written; None for a file that does not say.
        unclaimed: tensors that another runtime may compute with other bits, each with the reason: what makes them
            claims no equal bits, and no certified table holds them (see `clearance`).
        disagreements: kernels that onnxruntime ran and `kernels_ref` did not compute at the same place, a sentence
            each; and constants that onnxruntime made.
        batches: number of inputs in batches of each size.
        outputs_only: how many of them ran in batches whose outputs alone were compared: all tensors would not fit.
        together: the default session's outputs for batches against those for each input alone; empty where no batch
            was larger than one, or the file fixes it.
        inputs: number of inputs of each kind, such as `images`; some may have run in several batches.
        seconds: that it took.
        warnings: what the user should know about the images, a sentence each.
        skipped: how many images were left out.
        tables: what running all codes of every function in this onnxruntime gave; None where that was not done.
    """

    model: str
    samples: int
    threads: int
    tensors: tuple[TensorReport, ...]
    runtime_made: tuple[str, ...]
    outputs: dict[str, Difference]
    instrumented: dict[str, Difference]
    plan: KernelPlan
    origin: Origin | None = None
    unclaimed: Mapping[str, str] = field(default_factory=dict)
    disagreements: tuple[str, ...] = ()
    batches: dict[int, int] = field(default_factory=dict)
    outputs_only: int = 0
    together: dict[str, Difference] = field(default_factory=dict)
    inputs: dict[InputKind, int] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    skipped: int = 0
    tables: TableCheck | None = None

    def count(self, status: Status) -> int:
        """Number of tensors with this status."""
        return sum(tensor.status == status for tensor in self.tensors)

    @property
    def diverging(self) -> tuple[TensorReport, ...]:
        """The tensors that differ, in graph order: the first one is where to look."""
        return tuple(tensor for tensor in self.tensors if tensor.difference.differing)

    @property
    def values(self) -> int:
        """Number of values compared bit by bit, over all tensors and inputs."""
        return sum(tensor.difference.values for tensor in self.tensors if tensor.status != "certified")

    @property
    def table_deviation(self) -> float:
        """Largest deviation of a certified table from the reference, in steps; the margin is 1e-3."""
        return max((t.difference.largest for t in self.tensors if t.status == "certified"), default=0.0)

    @property
    def differing(self) -> int:
        """Number of values that differ from the reference, over all tensors and inputs; 0 is the promise."""
        return sum(tensor.difference.differing for tensor in self.tensors)

    @property
    def equal(self) -> bool:
        """Whether the file was run and nothing differs: inside, at the default session's outputs, in its tables."""
        ends = [*self.outputs.values(), *self.instrumented.values()]
        wrong_table = self.tables is not None and bool(self.tables.problem)
        return self.samples > 0 and self.differing == 0 and not wrong_table and not any(end.differing for end in ends)

    @property
    def reservations(self) -> tuple[str, ...]:
        """Why equal tensors do not prove the file exact, a sentence each; empty where they do."""
        unread = [
            f"{tensor.name}: {tensor.op} makes a type that onnxruntime does not hand out; it was not compared"
            for tensor in self.tensors
            if tensor.status == "unreadable"
        ]
        return (*self.disagreements, *unread, *(f"{name}: {reason}" for name, reason in self.unclaimed.items()))

    @property
    def verdict(self) -> Verdict:
        """What the comparison shows.

        ``exact``: every tensor is equal, onnxruntime ran the kernels that `kernels_ref` computed, and all of these
        claim equal bits. ``equal on these inputs``: every tensor is equal, but there are `reservations`.
        ``different``: a value differs, or a code of a function that these inputs did not reach. ``not run``: the file
        is not its recipe's.
        """
        if not self.samples:
            return "not run"
        if not self.equal:
            return "different"
        return "equal on these inputs" if self.reservations else "exact"

    @property
    def exact(self) -> bool:
        """Whether the verdict is ``exact``."""
        return self.verdict == "exact"

    @property
    def mixing(self) -> int:
        """Number of output values that depend on what else is in the batch."""
        return sum(end.differing for end in self.together.values())

    @property
    def passed(self) -> bool:
        """Whether the file is exact, in every batch, no matmul runs in float, and the file is as it was written."""
        sound = not self.plan.floating and not self.mixing
        return self.exact and sound and not (self.origin and self.origin.problems)

    def to_json(self) -> dict[str, Json]:
        """The report as plain JSON values, totals first."""
        return {
            "model": self.model,
            "onnxruntime": ort.__version__,
            "passed": self.passed,
            "verdict": self.verdict,
            "exact": self.exact,
            "samples": self.samples,
            "inputs": self.inputs,
            "skipped": self.skipped,
            "warnings": list(self.warnings),
            "batches": {str(size): count for size, count in self.batches.items()},
            "outputs_only": self.outputs_only,
            "seconds": round(self.seconds, 3),
            "threads": self.threads,
            "values": self.values,
            "differing": self.differing,
            "first_diverging": self.diverging[0].name if self.diverging else None,
            "tensors_compared": self.count("compared"),
            "tensors_folded": self.count("folded"),
            "tensors_certified": self.count("certified"),
            "table_arguments": self.tables.arguments if self.tables else None,
            "table_problem": self.tables.problem if self.tables else None,
            "table_deviation": self.table_deviation if isfinite(self.table_deviation) else None,
            "tensors_fused": self.count("fused"),
            "tensors_unreadable": self.count("unreadable"),
            "tensors_runtime_made": len(self.runtime_made),
            "disagreements": list(self.disagreements),
            "unclaimed": dict(self.unclaimed),
            "outputs": {name: end.to_json() for name, end in self.outputs.items()},
            "instrumented": {name: end.to_json() for name, end in self.instrumented.items()},
            "together": {name: end.to_json() for name, end in self.together.items()},
            "tensors": [tensor.to_json() for tensor in self.tensors],
            "runtime_made": list(self.runtime_made),
            "plan": self.plan.to_json(),
            "origin": self.origin.to_json() if self.origin else None,
        }
