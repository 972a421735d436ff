"""What moves, what it weighs, and what a pin holds: counted by hand on a tiny ViT.

32x32 pixels in patches of 8: 16 patches and a class token, 17 tokens of width 32, 2 blocks of 2 heads, 7 classes. After
the keys and values of the last block only the class token is computed.
"""

import pytest
from tiny_models import prepared

from mptq_export.allocate.units import Side, Unit, layers, pinned_widths, units
from mptq_export.capture.ops import Depthwise, Matmul, PatchEmbed
from mptq_export.support.errors import MptqError

#: [N, K] of the layers of a block.
BLOCK = {"attn.qkv": (96, 32), "attn.proj": (32, 32), "mlp.fc1": (128, 32), "mlp.fc2": (32, 128)}
PATCH_WEIGHTS = 32 * 3 * 8 * 8


def found(*, tied: bool, pinned: tuple[str, ...] = ()) -> dict[str, Unit]:
    made = units(prepared("vit"), tied=tied, pinned=pinned)
    keys = [unit.key for unit in made]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, made, strict=True))


def matmuls() -> list[str]:
    return [node.name for node in layers(prepared("vit")) if isinstance(node.op, Matmul)]


def patch_embed() -> str:
    return next(node.name for node in layers(prepared("vit")) if isinstance(node.op, PatchEmbed))


def test_every_layer_is_there():
    names = [node.name for node in layers(prepared("vit"))]
    assert len(names) == 1 + 2 * (len(BLOCK) + 2) + 1
    assert len(matmuls()) == 4
    order = [name for name in names if name not in matmuls()]
    assert order == [patch_embed(), *(f"blocks.{i}.{layer}" for i in range(2) for layer in BLOCK), "head"]


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("layer", BLOCK)
def test_linear_layers_have_two_sides(layer: str, block: int):
    rows, columns = BLOCK[layer]
    parameters = rows * columns
    macs = parameters * (17 if block == 0 or layer == "attn.qkv" else 1)
    name, all_units = f"blocks.{block}.{layer}", found(tied=False)
    assert all_units[f"{name}:weights"] == Unit(name, "weights", parameters, 0)
    assert all_units[f"{name}:activations"] == Unit(name, "activations", 0, macs)
    assert f"{name}:both" not in all_units


def test_the_head_sees_the_class_token_alone():
    assert found(tied=False)["head:activations"].macs == 32 * 7
    assert found(tied=False)["head:weights"].parameters == 32 * 7


@pytest.mark.parametrize("tied", [False, True])
def test_pixels_and_matmuls_have_one_side(tied: bool):
    all_units, name = found(tied=tied), patch_embed()
    assert [u for u in all_units.values() if u.layer == name] == [Unit(name, "weights", PATCH_WEIGHTS, 0)]
    for name in matmuls():  # 2 heads: queries of width 16 with 17 keys, then 17 attention codes with 16 values
        macs = 2 * (17 if name.startswith("blocks.0.") else 1) * 17 * 16
        assert [u for u in all_units.values() if u.layer == name] == [Unit(name, "activations", 0, macs)]


def test_tied_sides_are_one_unit():
    tied, untied = found(tied=True), found(tied=False)
    assert len(untied) == 1 + 4 + 2 * 9
    assert len(tied) == 1 + 4 + 9
    assert tied["blocks.0.attn.qkv:both"] == Unit("blocks.0.attn.qkv", "both", 96 * 32, 17 * 96 * 32)
    for total in ("parameters", "macs"):
        assert sum(getattr(u, total) for u in tied.values()) == sum(getattr(u, total) for u in untied.values())


def test_pinned_layers_do_not_move():
    left = found(tied=False, pinned=("head", patch_embed(), matmuls()[0]))
    expected = {
        key: unit for key, unit in found(tied=False).items() if unit.layer not in ("head", patch_embed(), matmuls()[0])
    }
    assert left == expected
    assert len(found(tied=False)) - len(left) == 4


def test_a_depthwise_convolution_counts_its_own_kernel_only():
    node = next(node for node in layers(prepared("pit")) if isinstance(node.op, Depthwise))
    made = [unit for unit in units(prepared("pit"), tied=False) if unit.layer == node.name]
    weights = 32 * 3 * 3  # 16 channels become 32; 7 x 7 tokens become 4 x 4
    assert made == [Unit(node.name, "weights", weights, 0), Unit(node.name, "activations", 0, weights * 4 * 4)]


@pytest.mark.parametrize(
    ("side", "after", "own"), [("weights", (3, 7), 6), ("activations", (6, 3), 7), ("both", (3, 3), 6)]
)
def test_a_unit_changes_its_own_width(side: Side, after: tuple[int, int], own: int):
    widths = {"a": (6, 7), "b": (8, 8)}
    unit = Unit("a", side, 1, 1)
    assert unit.bits(widths) == own
    assert unit.applied(widths, 3) == {"a": after, "b": (8, 8)}
    assert widths == {"a": (6, 7), "b": (8, 8)}  # a copy


# -- pins --------------------------------------------------------------------------------------------------------------


def test_a_pattern_pins_all_that_it_matches():
    pins = pinned_widths(prepared("vit"), {"blocks.1.*": (8, 6), "head": (7, 5)})
    assert pins["head"] == (7, 5)
    assert set(pins) - {"head"} == {n.name for n in layers(prepared("vit")) if n.name.startswith("blocks.1.")}
    assert set(pins.values()) == {(8, 6), (7, 5)}


def test_later_pins_win():
    pins = pinned_widths(prepared("vit"), {"blocks.*": (8, 8), "blocks.*.mlp.fc[12]": (4, 5)})
    assert pins["blocks.0.mlp.fc2"] == pins["blocks.1.mlp.fc1"] == (4, 5)
    assert pins["blocks.0.attn.qkv"] == (8, 8)
    assert pinned_widths(prepared("vit"), {"head": (4, 4), "*": (8, 8)})["head"] == (8, 8)
    assert pinned_widths(prepared("vit"), {}) == {}


@pytest.mark.parametrize("pattern", ["block.*", "Head", "blocks.0", "blocks.0.norm1"])
def test_a_pin_that_matches_nothing(pattern: str):
    with pytest.raises(MptqError) as raised:
        pinned_widths(prepared("vit"), {"head": (8, 8), pattern: (8, 8)})
    assert f"--pin {pattern} matches no layer" in str(raised.value)
    assert "blocks.0.attn.qkv" in str(raised.value)  # how layers are named
    assert "head" in str(raised.value)
