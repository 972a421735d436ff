"""What does not fit is refused before the work, and the estimate of memory is a lower bound."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from cli.helpers import run, save
from tiny_models import KINDS, images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.liveness import values_at_once
from mptq_export.capture.ops import Activation, Input, Linear
from mptq_export.support import limits


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint; nothing may be computed with it."""

    def working(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(import_module("mptq_export.calibrate.calibrated"), "collect", working)
    return save(tmp_path / "m.pt")


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exc_info)
    return result.stderr


@pytest.mark.parametrize(
    ("options", "limit", "words"),
    [
        (("--float-onnx", "float.onnx"), 60_000, ("float.onnx", "--float-onnx")),
        (("--bits", "8/8"), 15_000, ("m.mptq.onnx", "fewer bits")),
        (("--bits", "4/4", "--weight-storage", "int8"), 15_000, ("m.mptq.onnx", "fewer bits")),
        (("--mixed", "5", "--mixed-range", "4-8"), 7_000, ("m.mptq.onnx", "fewer bits")),
    ],
)
def test_a_file_that_onnx_cannot_hold(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], limit: int, words: tuple[str, ...]
):
    monkeypatch.setattr(limits, "ONNX_BYTES", limit)
    message = refused(checkpoint, *options)
    assert all(word in message for word in (*words, "GiB of weights"))


def test_fewer_bits_fit(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "ONNX_BYTES", 20_000)
    result = run(checkpoint, "--bits", "4/4")
    assert isinstance(result.exception, AssertionError), result.output  # it was not refused


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (50_000, ("the float model vit_tiny", "a smaller model")),
        (200_000, ("an export of ", " weights", "a smaller model")),
        (1_000_000, ("calibrating on 100 images", "--count")),
    ],
)
def test_memory_that_is_not_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, free: int, words: tuple[str, ...]):
    monkeypatch.setattr(limits, "free_memory", lambda: float(free))
    message = refused(checkpoint, "--count", 100)
    assert all(word in message for word in (*words, "needs at least", "GiB are free"))


def test_what_a_vit_holds_at_once():
    """An image twice (as it came, and its pixels), which is more here than what a block holds."""
    graph = prepared("vit")
    tokens, width = graph["blocks.0.mlp.fc1"].shape.dims[-2:]
    assert values_at_once(graph) == 2 * 3 * 32 * 32 > 2 * tokens * width


def test_a_result_in_the_place_of_its_operand_counts_once():
    narrow, wide = Shape((1, 4)), Shape((1, 12))
    layers = [
        Node(Linear(), "h", ("x",), wide),
        Node(Activation("gelu"), "a", ("h",), wide),
        Node(Linear(), "y", ("a",), narrow),
    ]
    assert values_at_once(Graph([Node(Input(), "x", (), narrow), *layers], "y")) == 12 + 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_holds_at_least_what_is_estimated(kind: str):
    """Every value that is computed and still to be read, views of others apart."""
    graph, count = prepared(kind), 3
    last = {name: node.name for node in graph for name in node.inputs}
    alive: dict[str, int] = {}
    most = 0

    def observe(node: Node, value: torch.Tensor) -> None:
        nonlocal most
        alive[node.name] = value.numel()
        most = max(most, sum(alive.values()))
        for name in {name for name in node.inputs if last[name] == node.name}:
            del alive[name]

    evaluate(graph, images(kind, count), observe)
    assert 0.4 * most < count * values_at_once(graph) <= most


def test_free_memory_is_known_here():
    assert 2**20 < limits.free_memory() < 2**50
