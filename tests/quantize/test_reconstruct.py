"""Learned rounding on the digits model: what it keeps, what it brings, how it resumes and what it warns of."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mptq_export.capture.blocks import split_blocks
from mptq_export.capture.evaluate import compute, evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear
from mptq_export.quantize.method import MINMAX, PAPER
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.reconstruct import block_fit, end_check
from mptq_export.quantize.reconstruct.journal import Journal, identity_of
from mptq_export.quantize.reconstruct.learning import Learning, judging_images
from mptq_export.quantize.reconstruct.refold import Folded, refolded
from mptq_export.quantize.reconstruct.run import reconstruct
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe, WeightRegions
from mptq_export.recipe.weight_levels import check_regions, outliers
from mptq_export.support.errors import MptqError

from .helpers import digits

SHORT = Learning(steps=20, batch=4)


@cache
def built() -> tuple[Graph, Recipe]:
    """The digits model at 3/3 as the paper has it."""
    graph, recipe = digits().build((3, 3), PAPER)
    return graph.cast(torch.float32), recipe


@cache
def learned() -> Recipe:
    return reconstruct(*built(), digits().calib[:24], learning=SHORT)


def few() -> torch.Tensor:
    """Enough to see that something moves."""
    return digits().calib[:16]


def lost(graph: Graph, recipe: Recipe) -> float:
    """Mean divergence on images that nothing was fitted to."""
    data = digits()
    with torch.no_grad():
        found = Simulator.of(graph, recipe).logits(graph, data.val)
        return float(divergence(graph, evaluate(data.graph, data.val), found).mean())


def same(a: Recipe, b: Recipe) -> bool:
    arrays = [
        [part for quant in each.weights.values() for part in (quant.codes, quant.scale, quant.bias)]
        + [part for sq_b in each.sq_b.values() for part in (sq_b.shift, sq_b.scale)]
        for each in (a, b)
    ]
    return a.activations == b.activations and all(map(np.array_equal, *arrays))


def test_blocks_in_a_row_are_the_model():
    data = digits()
    value = data.val[:4]
    with torch.no_grad():
        for block in split_blocks(data.graph):
            value = block.run(value, compute)
        assert torch.equal(value, evaluate(data.graph, data.val[:4]))
    names = [node.name for block in split_blocks(data.graph) for node in block.nodes if isinstance(node.op, Linear)]
    assert names == [node.name for node in data.graph if isinstance(node.op, Linear)]


def test_learning_helps_on_other_images():
    graph, recipe = built()
    assert lost(refolded(graph, digits().graph, learned()), learned()) < 0.85 * lost(graph, recipe)


def test_images_that_judge_are_others():
    images = digits().calib[:8]
    found = judging_images(images)
    assert found.shape == (2, *images.shape[1:])
    torch.testing.assert_close(found[1, :, 5:, 3:], images[4].flip(-1)[:, :-5, :-3])


def test_codes_scales_ranges_and_sq_b_are_learned_and_say_so():
    recipe, found = built()[1], learned()
    moved = [name for name, quant in found.weights.items() if "learned with its block" in quant.reason]
    judged = "divergence of the model's outputs on 24 calibration images, mirrored and moved"
    assert sum(judged in quant.reason for quant in found.weights.values()) == 1
    assert any(not np.array_equal(recipe.weights[n].codes, found.weights[n].codes) for n in moved)
    assert any(not np.array_equal(recipe.weights[n].scale, found.weights[n].scale) for n in moved)
    for name in moved:
        codes = found.weights[name].codes
        assert codes.dtype == np.int8
        assert -4 <= codes.min() <= codes.max() <= 3
    for before, after in ((recipe.activations, found.activations), (recipe.sq_b, found.sq_b)):
        changed = [name for name in before if before[name] is not after[name]]
        assert changed
        assert all(after[name].reason.endswith("learned") for name in changed)


def test_what_is_certified_or_shared_stays_so():
    recipe = built()[1]
    for name, quant in learned().activations.items():
        before = recipe.activations[name]
        assert (quant.bits, quant.low, quant.high, quant.regions) == (
            before.bits,
            before.low,
            before.high,
            before.regions,
        )
        if "softmax" in name or quant.bits == 8:
            assert quant == before
    zeros = {quant.zero_point for name, quant in learned().activations.items() if ".scores." in name}
    assert zeros == {4}


def test_a_block_that_gets_worse_keeps_its_numbers():
    graph, recipe = built()
    wild = replace(SHORT, steps=2, scale_rate=50.0)
    assert same(reconstruct(graph, recipe, few(), learning=wild), recipe)


def test_what_does_not_bring_the_outputs_nearer_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch):
    graph, recipe = built()
    told: list[str] = []
    monkeypatch.setattr(end_check, "divergence", lambda *_: torch.ones(1))
    assert reconstruct(graph, recipe, few(), learning=replace(SHORT, steps=4), warn=told.append) is recipe
    assert any("did not help" in sentence and "is 1 with" in sentence for sentence in told)


def test_images_that_were_held_back_judge_the_end(monkeypatch: pytest.MonkeyPatch):
    graph, recipe = built()
    held_back, told, seen = digits().val[:7], list[str](), list[torch.Tensor]()

    def worse(_graph: Graph, _exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        seen.append(found)
        return torch.full((1,), float(len(seen)))

    monkeypatch.setattr(end_check, "divergence", worse)
    short = replace(SHORT, steps=4)
    found = reconstruct(graph, recipe, few(), held_back=held_back, learning=short, warn=told.append)
    assert found is recipe
    assert any("is 2 with what was learned and 1 without, on 7 other images" in sentence for sentence in told)
    assert torch.equal(seen[0], Simulator.of(graph, recipe).logits(graph, held_back))


def test_eight_bits_stand():
    data = digits()
    graph, recipe = data.build((8, 8), MINMAX)
    found = reconstruct(graph, recipe, data.calib, learning=SHORT)
    assert all(found.weights[name] is quant for name, quant in recipe.weights.items())


def test_outliers_stand_and_other_codes_stay_levels():
    graph, recipe = built()
    name, regions = "blocks.1.mlp.fc1", WeightRegions((-9, -6, -4, -2, 0, 2, 4, 9), 4)
    before = recipe.weights[name]
    codes = np.array(regions.levels, np.int8)[before.codes + 4]
    codes[::7, ::5] = 16 + 9
    changed = replace(before, codes=codes, scale=before.scale / 2, regions=regions)
    loose = replace(recipe, weights=recipe.weights | {name: changed})
    found = reconstruct(graph, loose, few(), learning=replace(SHORT, steps=80)).weights[name]
    assert not np.array_equal(found.codes, codes)
    np.testing.assert_array_equal(outliers(found), outliers(changed))
    np.testing.assert_array_equal(found.codes[::7, ::5], codes[::7, ::5])
    check_regions(found)


def test_few_images_are_a_warning():
    graph, recipe = built()
    told: list[str] = []
    reconstruct(graph, recipe, digits().calib[:2], learning=replace(SHORT, steps=1), warn=told.append)
    assert sum("learns from 2 images" in sentence for sentence in told) == 1


def test_running_out_of_memory_halves_the_batch_and_says_so_once(monkeypatch: pytest.MonkeyPatch):
    graph, recipe = built()
    told: list[str] = []
    run = block_fit.Block.run

    def small(block: block_fit.Block, value: torch.Tensor, compute_node: object) -> torch.Tensor:
        if len(value) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(block, value, compute_node)  # type: ignore[arg-type]

    monkeypatch.setattr(block_fit.Block, "run", small)
    found = reconstruct(graph, recipe, few(), learning=replace(SHORT, steps=4), warn=told.append)
    assert not same(found, recipe)
    assert sum("ran out of memory" in sentence for sentence in told) == 1


def test_no_memory_for_one_image_is_refused(monkeypatch: pytest.MonkeyPatch):
    def none(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(block_fit.Block, "run", none)
    with pytest.raises(MptqError, match="too little memory"):
        reconstruct(*built(), few(), learning=SHORT)


class _InterruptedError(Exception):
    pass


class _Stops:
    """A bar that ends the work in the middle of the third block."""

    def __init__(self) -> None:
        self.left = 2 * SHORT.steps + 5

    def advance(self, amount: float = 1, text: str = "") -> None:
        self.left -= 1
        if not self.left:
            raise _InterruptedError


def test_an_interrupted_reconstruction_goes_on_to_the_same_numbers(tmp_path: Path):
    graph, recipe = built()
    images = few()
    identity = identity_of(graph, recipe, images, SHORT)
    folder = tmp_path / "model.learned"
    with pytest.raises(_InterruptedError):
        reconstruct(
            graph, recipe, images, learning=SHORT, journal=Journal.open(folder, identity, resume=False), bar=_Stops()
        )
    assert len(list(folder.iterdir())) >= 2
    journal = Journal.open(folder, identity, resume=True)
    found = reconstruct(graph, recipe, images, learning=SHORT, journal=journal)
    straight = reconstruct(graph, recipe, images, learning=SHORT)
    assert same(found, straight)
    assert {n: q.reason for n, q in found.weights.items()} == {n: q.reason for n, q in straight.weights.items()}


def test_a_journal_of_another_reconstruction_is_refused(tmp_path: Path):
    graph, recipe = built()
    Journal.open(tmp_path, "a" * 64, resume=False).write(0, recipe, recipe)
    with pytest.raises(MptqError, match="another reconstruction"):
        Journal.open(tmp_path, identity_of(graph, recipe, few(), SHORT), resume=True)
    (tmp_path / "0000.safetensors").write_bytes(b"damaged")
    with pytest.raises(MptqError, match="damaged"):
        Journal.open(tmp_path, "a" * 64, resume=True)


def test_the_graph_of_a_learned_sq_b_is_that_of_a_replay_but_for_last_bits():
    graph, recipe = built()
    ours, replayed = Folded(graph, recipe).of(learned()), refolded(graph, digits().graph, learned())
    for name in recipe.sq_b:
        for part in ("weight", "bias"):
            torch.testing.assert_close(ours[name].params[part], replayed[name].params[part].float())
