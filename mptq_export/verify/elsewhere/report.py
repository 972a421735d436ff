"""What running a file in another runtime found, as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from mptq_export.recipe.outputs import OutputKind
from mptq_export.runtime.edge.session import PlacedOps, Placement, RuntimeName
from mptq_export.support.json_files import Json
from mptq_export.verify.elsewhere.closeness import Closeness
from mptq_export.verify.elsewhere.final_codes import CodesOff
from mptq_export.verify.inputs.sets import InputKind
from mptq_export.verify.origin import Origin

ElsewhereVerdict = Literal["right", "right, with matmuls in float", "not whole", "wrong", "refused", "not as written"]

_MATMULS = ("matmul", "gemm", "fullyconnected", "conv", "innerproduct")


@dataclass(frozen=True)
class OutputElsewhere:
    """One output.

    Attributes:
        name: of the ONNX output.
        kind: of it.
        written: what the runtime gives beside what the file says: onnxruntime's CPU provider without its optimizations.
        floating: what the runtime gives beside the float model; None without one.
        written_floating: what the file says beside the float model; None without one.
        codes: steps of its last codes between the runtime and what the file says; None where it is not made of codes.
        wrong: why it is wrong, a sentence each.
    """

    name: str
    kind: OutputKind
    written: Closeness
    floating: Closeness | None
    written_floating: Closeness | None
    codes: CodesOff | None
    wrong: tuple[str, ...] = ()

    def to_json(self) -> Mapping[str, Json]:
        """Plain JSON values."""
        return {
            "output": self.name,
            "kind": self.kind,
            "beside_file": self.written.to_json(),
            "beside_float": self.floating.to_json() if self.floating else None,
            "file_beside_float": self.written_floating.to_json() if self.written_floating else None,
            "codes": self.codes.to_json() if self.codes else None,
            "wrong": list(self.wrong),
        }


@dataclass(frozen=True)
class ElsewhereReport:
    """One file in one runtime.

    Attributes:
        model: path of the file.
        sha256: of it.
        runtime: its name.
        version: of the runtime.
        device: what ran it.
        target: what the file was exported for; empty where it does not say.
        placement: where everything of it runs; None where the runtime refuses the file.
        refused: the runtime's own words where it does; else empty.
        inputs: number of inputs of each kind, such as `images`.
        outputs: each output compared.
        seconds: that the runtime took for one input, on average; the first may include its preparation.
        floating: the float model that was compared with; None without one.
        warnings: what the user should know, a sentence each.
        origin: whether the file is as it was written; None for a file that does not say.
    """

    model: str
    sha256: str
    runtime: RuntimeName
    version: str
    device: str
    target: str
    placement: Placement | None
    refused: str = ""
    inputs: Mapping[InputKind, int] = field(default_factory=dict)
    outputs: tuple[OutputElsewhere, ...] = ()
    seconds: float = 0.0
    floating: str | None = None
    warnings: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing of it is left to the host's CPU."""
        return self.placement is not None and not self.placement.left

    @property
    def float_matmuls(self) -> tuple[PlacedOps, ...]:
        """Matmuls and convolutions that compute in floats."""
        floating = self.placement.floating if self.placement else ()
        return tuple(
            placed for placed in floating if any(name in placed.op.lower().replace("convert", "") for name in _MATMULS)
        )

    @property
    def wrong(self) -> tuple[str, ...]:
        """Why it is wrong, a sentence each; empty where it is right."""
        return tuple(reason for each in self.outputs for reason in each.wrong)

    @property
    def verdict(self) -> ElsewhereVerdict:
        """What was found: a wrong result weighs more than where it was computed."""
        if self.origin is not None and self.origin.problems:
            return "not as written"
        if self.placement is None:
            return "refused"
        if self.wrong:
            return "wrong"
        if not self.whole:
            return "not whole"
        return "right, with matmuls in float" if self.float_matmuls else "right"

    @property
    def passed(self) -> bool:
        """Whether it is whole, right, and every matmul is in integers."""
        return self.verdict == "right"

    @property
    def failed(self) -> bool:
        """Whether it does not run there as it should."""
        return self.verdict not in {"right", "right, with matmuls in float"}

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, the verdict first."""
        placement = self.placement
        return {
            "model": self.model,
            "sha256": self.sha256,
            "runtime": self.runtime,
            "version": self.version,
            "device": self.device,
            "target": self.target,
            "passed": self.passed,
            "verdict": self.verdict,
            "whole": self.whole,
            "in_integers": placement is not None and not placement.floating,
            "wrong": list(self.wrong),
            "refused": self.refused or None,
            "inputs": {str(kind): count for kind, count in self.inputs.items()},
            "seconds_per_input": round(self.seconds, 4),
            "float": self.floating,
            "outputs": [each.to_json() for each in self.outputs],
            "placement": None
            if placement is None
            else {"source": placement.source, "ops": [asdict(op) for op in placement.ops]},
            "origin": self.origin.to_json() if self.origin else None,
            "warnings": list(self.warnings),
        }
