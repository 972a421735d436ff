"""A loss of the caller's own as the objective of a search.

Only its value is used. What units are expected to cost is still estimated with the distances that have a second
derivative (`quantize/objective/closed_forms.py`), scaled so that both rise alike.
"""

import math
from typing import Any, get_args

import torch

from mptq_export.capture.graph import Graph
from mptq_export.recipe.metric import MetricName, OwnMetric, metric_text
from mptq_export.support.errors import MptqError

_TRIED = 0.01
"""Size of the error that the loss is tried with, as a share of the outputs."""


class OwnLoss:
    """Calls it with outputs that look as the model's, and checks what it gives."""

    def __init__(self, function: OwnMetric, graph: Graph) -> None:
        """Nothing is called yet.

        Args:
            function: `(exact, found)` to [B], or to one number.
            graph: prepared canonical graph.

        Raises:
            MptqError: it cannot be called.
        """
        if not callable(function):
            known = ", ".join(get_args(MetricName))
            raise MptqError(f"metric is a {type(function).__name__}, neither a function nor one of {known}")
        self._function, self._graph = function, graph
        self._name = metric_text(function)

    def tried(self, output: torch.Tensor) -> tuple[float, ...]:
        """What it gives for a few outputs of the float model and the same with small errors: one loss gives the same.

        Args:
            output: of a few images.

        Raises:
            MptqError: it fails, or gives something else than finite numbers.
        """
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        noisy = output * (1 + _TRIED * noise.to(output))
        return (*self._numbers(output, output), *self._numbers(output, noisy))

    def excess(self, exact: torch.Tensor, found: torch.Tensor) -> list[float]:
        """The loss of found outputs over that of the float model's own: a number an image, or one for all.

        Args:
            exact: output of the float model, [B, values].
            found: the quantized model's.

        Raises:
            MptqError: as `tried`.
        """
        least, most = self._numbers(exact, exact), self._numbers(exact, found)
        return [b - a for a, b in zip(least, most, strict=True)]

    def _numbers(self, exact: torch.Tensor, found: torch.Tensor) -> list[float]:
        try:
            with torch.no_grad():
                given = self._function(self._as_model(exact), self._as_model(found))
        except Exception as error:
            lines = str(error).strip().splitlines() or ["no reason given"]
            raise MptqError(
                f"metric {self._name} raised {type(error).__name__}: {lines[0]}; it is called with (exact, found), "
                f"{self._described()}"
            ) from error
        numbers = self._checked(given, len(exact))
        if not all(map(math.isfinite, numbers)):
            raise MptqError(
                f"metric {self._name} gives {next(n for n in numbers if not math.isfinite(n))}; it must be finite"
            )
        return numbers

    def _checked(self, given: Any, count: int) -> list[float]:
        try:
            values = torch.as_tensor(given).detach().double().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise MptqError(
                f"metric {self._name} gives a {type(given).__name__}, not a number or one an image"
            ) from error
        if values.numel() != 1 and tuple(values.shape) != (count,):
            raise MptqError(
                f"metric {self._name} gives shape {list(values.shape)} for {count} images; it must give one number, or "
                f"one an image, [{count}]"
            )
        return [float(number) for number in values.reshape(-1)]

    def _as_model(self, output: torch.Tensor) -> Any:
        """The outputs in the model's own shapes, float32: alone, or by name."""
        parts = zip(self._graph.outputs.items(), self._graph.parts(output), strict=True)
        named = {name: part.float().reshape(self._graph[value].shape.at(len(part))) for (name, value), part in parts}
        return next(iter(named.values())) if len(named) == 1 else named

    def _described(self) -> str:
        shapes = {name: ["B", *self._graph[value].shape.dims[1:]] for name, value in self._graph.outputs.items()}
        listed = ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in shapes.items())
        return f"tensors of {listed}" if len(shapes) == 1 else f"dictionaries of tensors: {listed}"
