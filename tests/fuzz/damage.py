"""Ways to damage a file: its bytes, or what they say. Every choice comes from one `random.Random`."""

import json
import math
import zipfile
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from kernels_ref.ops.table import OPS

#: Numbers that programs trip over.
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 255, 256, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63)),
    *(math.nan, math.inf, -math.inf, 1e-45, 3.4e38, 1e300, -0.0),
)
#: Values of any type.
VALUES: tuple[Any, ...] = (*NUMBERS, None, True, "", "x", "../../etc/passwd", [], {}, [[]], {"a": [1]}, "9" * 400)


def any_value(random: Random) -> Any:
    """One of `VALUES`, which may be changed."""
    return deepcopy(random.choice(VALUES))


def either(random: Random, *others: Any) -> Any:
    """`any_value`, or as often one of these."""
    return any_value(random) if random.random() < 0.5 else random.choice(others)


def bytes_of(data: bytes, random: Random) -> bytes:
    """Damaged bytes: cut short, flipped, overwritten, repeated, taken out."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 30))):
        if not damaged:
            break
        start = random.randrange(len(damaged))
        span = min(random.choice((1, 2, 4, 8, 64, 1024)), len(damaged) - start)
        match random.randrange(6):
            case 0:
                damaged[start] ^= 1 << random.randrange(8)
            case 1:
                damaged[start : start + span] = random.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * span
            case 2:
                damaged[start : start + span] = random.randbytes(span)
            case 3:
                damaged[start:start] = damaged[start : start + span]
            case 4:
                del damaged[start : start + span]
            case 5:
                if random.random() < 0.3:
                    del damaged[start:]
    return bytes(damaged)


def file_bytes(path: Path, random: Random) -> None:
    """`bytes_of` a file, in place."""
    path.write_bytes(bytes_of(path.read_bytes(), random))


# -- ONNX --------------------------------------------------------------------------------------------------------------


def onnx_model(path: Path, random: Random) -> None:
    """Change what an ONNX file says, in place."""
    model = onnx.ModelProto.FromString(path.read_bytes())
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        with suppress(IndexError):  # nothing left to change
            random.choice(_ONNX)(model, random)
    path.write_bytes(model.SerializeToString())


def _tensor(model: onnx.ModelProto, random: Random) -> TensorProto:
    return random.choice(model.graph.initializer)


def _shape(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    if tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice((0, -1, 1, 3, 2**31, 2**40, 2**63 - 1))
    else:
        tensor.dims.append(random.choice((0, 1, 2**40)))


def _rank(model: onnx.ModelProto, random: Random) -> None:
    _tensor(model, random).dims[:] = [random.choice((0, 1, 2, 2**20)) for _ in range(random.choice((0, 1, 3, 70)))]


def _dtype(model: onnx.ModelProto, random: Random) -> None:
    _tensor(model, random).data_type = random.choice((*TensorProto.DataType.values(), 99, -1))


def _values(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    value = random.choice(NUMBERS)
    if tensor.data_location == TensorProto.EXTERNAL:  # an earlier damage: its numbers lie elsewhere, or nowhere
        return
    try:
        array = np.array(onnx.numpy_helper.to_array(tensor))
        array.flat[random.randrange(max(array.size, 1))] = value
        tensor.raw_data = array.tobytes()
    except (ValueError, TypeError, OverflowError, IndexError, KeyError):
        tensor.raw_data = random.randbytes(random.choice((0, 1, 4, 1000)))


def _constant_values(model: onnx.ModelProto, random: Random) -> None:
    """Another list of sizes, axes or counts: what Reshape, Slice, Expand and others read."""
    lists = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT64]
    if lists:
        tensor = random.choice(lists)
        numbers = [random.choice((0, -1, 1, 2, 7, 2**31, 2**40, -(2**63))) for _ in range(random.choice((0, 1, 2, 4)))]
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(numbers, np.int64), tensor.name))


def _node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    return random.choice(model.graph.node)


def _op(model: onnx.ModelProto, random: Random) -> None:
    _node(model, random).op_type = random.choice((*sorted(OPS), "Loop", "If", "", "QGemm"))


def _domain(model: onnx.ModelProto, random: Random) -> None:
    _node(model, random).domain = random.choice(("com.microsoft", "ai.onnx.ml", "nowhere", "ai.onnx"))


def _edge(model: onnx.ModelProto, random: Random) -> None:
    """Another input: of a later node (a cycle), a constant, nothing, or one that is not there."""
    node, other = _node(model, random), _node(model, random)
    names = [*other.output, *other.input, *node.output, _tensor(model, random).name, "", "nowhere"]
    if node.input and random.random() < 0.7:
        node.input[random.randrange(len(node.input))] = random.choice(names)
    else:
        node.input.append(random.choice(names))


def _fewer(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    field = random.choice((node.input, node.output, node.attribute))
    if field:
        field.pop(random.randrange(len(field)))


def _attribute(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    known = [attribute.name for attribute in node.attribute]
    name = random.choice((*known, "axis", "perm", "to", "block_size", "keepdims", "alpha", "pads", "transA"))
    value = random.choice((0, -1, 99, 2**62, 1.5, math.nan, "text", [0, 0], [2**40], [1.0], b"\xff", ["a"]))
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _subgraph(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    node.attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))


def _input(model: onnx.ModelProto, random: Random) -> None:
    entry = model.graph.input[0] if model.graph.input else model.graph.input.add(name="x")
    tensor = entry.type.tensor_type
    if random.random() < 0.3:
        tensor.elem_type = random.choice((0, 1, 2, 3, 7, 8, 10, 11, 16, 23, 99))
    elif tensor.shape.dim:
        random.choice(tensor.shape.dim).dim_value = random.choice((0, -1, 1, 5, 2**20, 2**62))
    else:
        entry.ClearField("type")


def _external(model: onnx.ModelProto, random: Random) -> None:
    """Data elsewhere: outside of the folder, in a device, beyond the end of a file."""
    tensor = _tensor(model, random)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = ("/etc/passwd", "../secret.bin", "link.bin", "/dev/zero", "", ".", "m.onnx", "a/../../secret.bin", "\x00")
    entries = {"location": random.choice(places)}
    for key in ("offset", "length"):
        if random.random() < 0.5:
            entries[key] = str(random.choice((0, -1, 1, 2**40, 2**70, "x")))
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def _twice(model: onnx.ModelProto, random: Random) -> None:
    field = random.choice((model.graph.initializer, model.graph.node, model.graph.input, model.graph.output))
    if field:
        field.append(random.choice(field))


def _emptied(model: onnx.ModelProto, random: Random) -> None:
    field = random.choice(("node", "initializer", "input", "output"))
    model.graph.ClearField(field)


def _opset(model: onnx.ModelProto, random: Random) -> None:
    model.opset_import[0].version = random.choice((0, 1, 12, 13, 19, 22, 23, 99, 2**40))


def _ir(model: onnx.ModelProto, random: Random) -> None:
    model.ir_version = random.choice((0, 1, 3, 9, 99, 2**40))


def _metadata(model: onnx.ModelProto, random: Random) -> None:
    if model.metadata_props:
        random.choice(model.metadata_props).value = json.dumps(any_value(random))


_ONNX: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    *(_shape, _rank, _dtype, _values, _values, _constant_values, _constant_values, _op, _op, _domain, _edge, _edge),
    *(_fewer, _attribute, _attribute, _subgraph, _input, _external, _twice, _emptied, _opset, _ir, _metadata),
)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def pt_checkpoint(path: Path, random: Random) -> None:
    """Change what a .pt file says, in place."""
    content = torch.load(path, weights_only=True)  # noqa: TID251 (our own file)
    for _ in range(random.choice((1, 1, 2, 3))):
        with suppress(RuntimeError, TypeError, ValueError):  # a change that the one before it does not allow
            content = random.choice(_CHECKPOINT)(content, random)
    torch.save(content, path)


def _some_tensor(content: Any, random: Random) -> tuple[dict[str, Any], str] | None:
    state = content.get("state_dict") if isinstance(content, dict) else None
    return (state, random.choice(sorted(state, key=str))) if isinstance(state, dict) and state else None


def _changed_tensor(content: Any, random: Random) -> Any:
    found = _some_tensor(content, random)
    if found is None:
        return content
    state, name = found
    tensor = state[name] if isinstance(state[name], torch.Tensor) else torch.zeros(2, 2)
    changes: tuple[Callable[[], Any], ...] = (
        lambda: tensor * random.choice((math.nan, math.inf, 1e38, 0)),
        lambda: tensor.to(random.choice((torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64))),
        lambda: tensor.reshape(-1)[: random.choice((0, 1, 3))],
        lambda: torch.zeros(1).expand(2**40),
        lambda: torch.zeros(1).expand(2**20, 2**20),
        tensor.to_sparse,
        lambda: torch.empty(3, device="meta"),
        lambda: torch.empty(random.choice((0, 1, 5)), 0),
        lambda: any_value(random),
        lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    )
    state[name] = random.choice(changes)()
    return content


def _renamed_tensor(content: Any, random: Random) -> Any:
    found = _some_tensor(content, random)
    if found is not None:
        state, name = found
        state[random.choice(("", "x", 3, None, name * 100, "blocks.999999999.x", ("a",)))] = state.pop(name)
    return content


def _changed_entry(content: Any, random: Random) -> Any:
    if not isinstance(content, dict):
        return content
    key = random.choice(("arch", "model_kwargs", "state_dict", "class_names", "pretrained_cfg", "args", "x"))
    content[key] = either(random, _laughs(), {"state_dict": {}}, torch.zeros(1), {"input_size": [3, 10**9, 9]})
    return content


def _changed_keyword(content: Any, random: Random) -> Any:
    if not isinstance(content, dict):
        return content
    names = ("depth", "embed_dim", "img_size", "patch_size", "num_heads", "num_classes", "mlp_ratio", "norm_layer")
    others = ("pretrained", "checkpoint_path", "pretrained_cfg", "block_fn", "drop_rate", "global_pool", "class_token")
    kwargs = content.get("model_kwargs")
    content["model_kwargs"] = dict(kwargs) if isinstance(kwargs, dict) else {}
    content["model_kwargs"][random.choice((*names, *others))] = either(random, _laughs())
    return content


def _changed_preprocessing(content: Any, random: Random) -> Any:
    if isinstance(content, dict):
        names = ("mean", "std", "input_size", "interpolation", "crop_pct", "crop_mode", "label_names", "file", "url")
        value = either(random, [0.5] * 3, [math.nan] * 3, [3, 10**9, 10**9], [3, -1, 0], "bicubic")
        content["pretrained_cfg"] = {random.choice(names): value}
    return content


def _other_content(content: Any, random: Random) -> Any:
    return random.choice(
        (
            any_value(random),
            any_value(random),
            _laughs(),
            {"state_dict": {}},
            torch.zeros(3),
            {"a": torch.zeros(3)},
            [content],
        )
    )


def _laughs() -> Any:
    """A small pickle of 10^15 entries: each list holds the one before ten times."""
    value: Any = ["ha"]
    for _ in range(15):
        value = [value] * 10
    return value


_CHECKPOINT: tuple[Callable[[Any, Random], Any], ...] = (
    *(_changed_tensor, _changed_tensor, _changed_tensor, _renamed_tensor, _changed_entry, _changed_keyword),
    *(_changed_keyword, _changed_preprocessing, _other_content),
)


def pickle_in_archive(path: Path, random: Random) -> None:
    """Damage the pickle of a .pt file, in place; the archive stays whole."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, bytes_of(data, random) if name.endswith("data.pkl") else data)


def safetensors_header(path: Path, random: Random) -> None:
    """Change the header of a .safetensors file, in place."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        entry = header[random.choice(sorted(header))]
        entry[random.choice(sorted(entry))] = either(random, [0, 2**40], [2**63, 2], "F64", "I4", "F8_E4M3")
    except (ValueError, IndexError, TypeError, AttributeError):
        header = any_value(random)
    text = json.dumps(header).encode()
    length = random.choice((len(text), len(text), len(text), 2**40, 2**63 - 1, 0, len(text) - 1))
    path.write_bytes(length.to_bytes(8, "little") + text + data[8 + size :])


# -- recipes -----------------------------------------------------------------------------------------------------------


def recipe_json(path: Path, random: Random) -> None:
    """Change some values of a recipe's JSON, in place."""
    content = json.loads(path.read_text())
    for _ in range(random.choice((1, 1, 3))):
        place: Any = content
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = random.choice(keys)
            inside = place[key]
            if isinstance(inside, dict | list) and inside and random.random() < 0.9:
                place = inside
                continue
            if random.random() < 0.2:
                del place[key]
            else:
                place[key] = either(random, "0" * 64)
            break
    path.write_text(json.dumps(content))


def recipe_tensors(path: Path, random: Random) -> None:
    """Change the arrays of a recipe, in place; the digests in the JSON are those of the old ones."""
    tensors = load_file(path)
    name = random.choice(sorted(tensors))
    value = tensors.pop(name)
    changes: tuple[Callable[[], Any], ...] = (
        lambda: value.astype(random.choice((np.float16, np.float64, np.int64, np.uint8))),
        lambda: value.reshape(-1),
        lambda: value[:0],
        lambda: np.full_like(value, 0),
        lambda: np.zeros((), value.dtype),
    )
    changed = random.choice(changes)()
    if random.random() < 0.8:
        tensors[name] = np.ascontiguousarray(changed)
    save_file(tensors, path)
