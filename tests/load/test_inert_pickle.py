"""The restricted unpickler: what is plain is read, what is not becomes a stand-in, and nothing of a file ever runs."""

import argparse
import collections
import datetime
import enum
import functools
import io
import os
import pickle
import pickletools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mptq_export.load.file import inert_pickle
from mptq_export.load.file.checkpoint import read_checkpoint
from mptq_export.load.file.inert_pickle import HarmfulPickleError
from mptq_export.load.file.plain_makers import StandIn
from mptq_export.support.errors import MptqError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Colour(enum.Enum):
    RED = 1


class Config(dict[str, Any]):
    """As of yacs: a dict with attributes."""


class Own:
    def __init__(self) -> None:
        self.x = [1, 2]


class Runs:
    """Calls `function` when it is unpickled by pickle."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def through(value: Any, protocol: int = 2) -> Any:
    return inert_pickle.load(io.BytesIO(pickle.dumps(value, protocol)))


def file_with(path: Path, extra: Any, **how: Any) -> dict[str, Tensor]:
    torch.save({"state_dict": TENSORS, "extra": extra}, path, **how)
    return read_checkpoint(path).state_dict


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


# -- what is plain -----------------------------------------------------------------------------------------------------

PLAIN: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        255,
        256,
        2**31,
        -(2**63),
        10**30,
        1.5,
        float("inf"),
        "",
        "text",
        "\u20ac\ud800",
        b"\x00\xff",
    ),
    *([], (), {}, [1, [2]], (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": {"b": 1}, 3: None, (1, 2): "x"}),
    *({1, 2}, frozenset({"a"}), collections.OrderedDict(a=1)),
    *(np.float32(1.5), np.int64(-3), np.bool_(True)),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value", PLAIN, ids=lambda value: f"{type(value).__name__} {value!r:.20}".encode("ascii", "replace")
)
def test_plain_data_is_read_in_every_protocol(value: Any, protocol: int):
    found = through(value, protocol)
    assert type(found) is type(value) and found == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "S2"])
def test_arrays_are_read_in_every_protocol(dtype: str, protocol: int):
    array = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    for layout in (array, np.asfortranarray(array)):
        found = through(layout, protocol)
        assert found.dtype == layout.dtype and np.array_equal(found, layout)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_has_a_plain_form_gets_it(protocol: int):
    counted = collections.defaultdict(list, a=[1])
    value = [counted, collections.Counter("aab"), argparse.Namespace(x=1), types.SimpleNamespace(y=2), Path("/a/b")]
    found = through(value, protocol)
    assert found[:2] == [{"a": [1]}, {"a": 2, "b": 1}] and type(found[0]) is dict
    assert (vars(found[2]), vars(found[3]), found[4]) == ({"x": 1}, {"y": 2}, "/a/b")


def test_what_is_shared_stays_shared_and_what_holds_itself_too():
    shared: list[Any] = [1]
    shared.append(shared)
    found = through([shared, shared])
    assert found[0] is found[1] and found[0][1] is found[0]


def test_arrays_beside_the_weights_are_read_as_lists(tmp_path: Path):
    about = {
        "pretrained_cfg": {"mean": np.array([0.25, 0.5, 0.75]), "crop_pct": np.float32(0.5)},
        "class_names": np.array(["a", "b"]),
        "model_kwargs": {"depth": np.int64(3)},
        "args": argparse.Namespace(mean=np.array([0.5]), model="vit_x"),
    }
    torch.save({"state_dict": {str(n): torch.ones(1) for n in range(9)}, **about}, tmp_path / "m.pt")
    found = read_checkpoint(tmp_path / "m.pt")
    assert found.pretrained_cfg == {"mean": [0.25, 0.5, 0.75], "crop_pct": 0.5}
    assert (found.class_names, found.model_kwargs, found.arches) == (("a", "b"), {"depth": 3}, ("vit_x",))
    assert found.args.part("mean") == (0.5,)


# -- what becomes a stand-in -------------------------------------------------------------------------------------------

STRANGE: dict[str, Any] = {
    "date": datetime.datetime(2020, 1, 1),
    "partial": functools.partial(nn.LayerNorm, eps=1e-6),
    "class": nn.LayerNorm,
    "module": nn.Linear(2, 2),
    "enum": Colour.RED,
    "subclass of dict": Config(a=Config(b=1)),
    "object": Own(),
    "slice": slice(1, 2),
    "array of objects": np.array([Own(), None]),
    "records": np.zeros(2, [("a", "f4")]),
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "device": torch.device("cpu"),
    "dtype": torch.float32,
    "generator": torch.Generator().get_state(),
    "path": Path("/a"),
    "nested": [{"a": (Own(), [Own()])}, {Own(): 1}],
}


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}], ids=str)
@pytest.mark.parametrize("kind", STRANGE)
def test_whatever_stands_beside_the_weights_does_not_stop_them(tmp_path: Path, kind: str, how: dict[str, Any]):
    assert same(file_with(tmp_path / "m.pt", STRANGE[kind], **how))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stand_in_says_what_it_stands_for(protocol: int):
    found = through([Own(), Own, Config(a=1)], protocol)
    assert [type(each) for each in found] == [StandIn] * 3
    assert [repr(each) for each in found[:2]] == [f"<{__name__}.Own>"] * 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_plain_pickle_of_tensors(tmp_path: Path, protocol: int):
    with (tmp_path / "m.pkl").open("wb") as stream:
        pickle.dump({"model": TENSORS, "epoch": 3, "config": Own()}, stream, protocol)
    assert same(read_checkpoint(tmp_path / "m.pkl").state_dict)


def test_parameters_and_tied_tensors(tmp_path: Path):
    weight = nn.Parameter(torch.ones(2, 3))
    weight.note = "an attribute"  # type: ignore[attr-defined]
    torch.save(
        {"state_dict": {"a.weight": weight, "b.weight": weight, "c.half": weight[:1]}, "x": Own()}, tmp_path / "m.pt"
    )
    found = read_checkpoint(tmp_path / "m.pt").state_dict
    assert all(torch.equal(tensor, torch.ones_like(tensor)) for tensor in found.values())
    assert [tuple(tensor.shape) for tensor in found.values()] == [(2, 3), (2, 3), (1, 3)]


@pytest.mark.parametrize("where", ["whole", "weights", "tensor"])
def test_where_weights_are_wanted_a_stand_in_is_refused(tmp_path: Path, where: str):
    places = {"whole": Own(), "weights": {"model": Own(), "x": 1}, "tensor": {"model": {**TENSORS, "b.weight": Own()}}}
    torch.save(places[where], tmp_path / "m.pt")
    with pytest.raises(MptqError, match=rf"would run code when it is opened \(it needs {__name__}.Own\).*--trust"):
        read_checkpoint(tmp_path / "m.pt")


# -- what would do harm ------------------------------------------------------------------------------------------------


def touches(path: Path) -> dict[str, Runs]:
    """What makes `path`, or changes Python, when pickle reads it."""
    make = f"open({str(path)!r}, 'w')"
    return {
        "system": Runs(os.system, f"touch {path}"),
        "mkdir": Runs(os.mkdir, str(path)),
        "open": Runs(open, str(path), "w"),
        "eval": Runs(eval, make),
        "exec": Runs(exec, make),
        "getattr": Runs(getattr, Runs(__import__, "os"), "system"),
        "method": Runs(path.touch),
        "partial": Runs(functools.partial(os.system, f"touch {path}")),
        "map": Runs(list, Runs(map, os.system, [f"touch {path}"])),
        "numpy": Runs(np.save, str(path), np.zeros(1)),
        "torch": Runs(torch.save, 1, str(path)),
        "setattr": Runs(setattr, nn.Linear, "files_test", 1),
        "pickle in a pickle": Runs(pickle.loads, pickle.dumps(Runs(os.mkdir, str(path)))),
        "storage": Runs(torch.storage._load_from_bytes, saved(Runs(os.mkdir, str(path)))),
    }


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


KINDS = tuple(touches(Path()))


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("where", ["whole", "beside", "deep", "tensor", "key"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs(tmp_path: Path, kind: str, where: str, how: str):
    trap = touches(tmp_path / "ran")[kind]
    made = {
        "whole": trap,
        "beside": {"state_dict": TENSORS, "x": trap},
        "deep": {"state_dict": TENSORS, "x": [[{"y": (argparse.Namespace(z=trap),)}]]},
        "tensor": {"state_dict": {**TENSORS, "b.weight": trap}},
        "key": {"state_dict": TENSORS, trap: 1},
    }[where]
    if how == "pickle":
        (tmp_path / "m.pt").write_bytes(pickle.dumps(made))
    else:
        torch.save(made, tmp_path / "m.pt", _use_new_zipfile_serialization=how == "zip")
    try:
        assert same(read_checkpoint(tmp_path / "m.pt").state_dict)
    except MptqError as error:
        assert "m.pt" in str(error) and "\n" not in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
    assert not hasattr(nn.Linear, "files_test")


@pytest.mark.parametrize("kind", ["system", "mkdir", "open", "eval", "exec"])
def test_a_file_that_means_harm_is_not_read_at_all(tmp_path: Path, kind: str):
    with pytest.raises(MptqError, match="would run code"):
        file_with(tmp_path / "m.pt", touches(tmp_path / "ran")[kind])
    with pytest.raises(HarmfulPickleError):
        through(touches(tmp_path / "ran")[kind])


def global_of(name: str) -> bytes:
    return b"c" + name.encode().replace(b" ", b"\n") + b"\n"


FUNCTION = global_of("torch._utils _rebuild_tensor_v2")
NAMESPACE = global_of("argparse Namespace") + b")R"
PROGRAMS = {
    "attributes of a function": FUNCTION + b"}U\x08__code__K\x01sb.",
    "slots of a function": FUNCTION + b"N}U\x0c__defaults__)s\x86b.",
    "an item of a function": FUNCTION + b"K\x01K\x02s.",
    "a call of a number": b"K\x01)R.",
    "a call of a namespace": NAMESPACE + b")R.",
    "a call of a tuple": b")" + b")R.",
    "items of a text": b"U\x01aK\x01K\x02s.",
    "a text longer": b"U\x01aK\x01a.",
    "a module's source": b"(U\x06moduleNNNtQ.",
    "a persistent number": b"K\x01Q.",
    "a persistent text": b"Pstorage\n.",
    "an extension": b"\x82\x01.",
    "a buffer": b"\x80\x05\x97.",
    "an empty stack": b".",
    "no mark": b"t.",
    "nothing in the memo": b"h\x00.",
    "a list as a key": b"}]K\x01s.",
    "a name of a list": b"]]\x93.",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_only_data_can_be_made_and_changed(program: str):
    with pytest.raises((TypeError, ValueError, LookupError, AttributeError)):
        inert_pickle.load(io.BytesIO(PROGRAMS[program]))


def test_every_step_is_known_or_refused():
    known = set(inert_pickle._PUSHED) | set(inert_pickle._STEPS) | {"STOP"}
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert known | refused == {opcode.name for opcode in pickletools.opcodes} and not known & refused


@pytest.mark.parametrize("where", ["key", "member", "text", "persistent"])
def test_tuples_in_tuples_take_no_time(where: str):
    """Hashing or printing 10^20 entries that a few hundred bytes stand for."""
    bomb: Any = (1,)
    for _ in range(20):
        bomb = (bomb,) * 10
    programs = {
        "key": b"}" + pickle.dumps(bomb, 2)[2:-1] + b"K\x01s.",
        "member": b"\x8f(" + pickle.dumps(bomb, 2)[2:-1] + b"\x90.",
        "text": NAMESPACE + b"}" + pickle.dumps(bomb, 2)[2:-1] + b"K\x01sb.",
        "persistent": b"(U\x07storageN" + pickle.dumps(bomb, 2)[2:-1] + b"NNtQ.",
    }
    with pytest.raises(TypeError):
        inert_pickle.load(io.BytesIO(programs[where]))


def test_a_torchscript_archive_never_reaches_torch_jit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`torch.load` without weights_only would hand it on."""
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
    torch.save({"state_dict": TENSORS, "x": Own()}, tmp_path / "m.pt")
    script = torch.jit.script(nn.Linear(2, 2))
    torch.jit.save(script, tmp_path / "s.pt")
    assert same(read_checkpoint(tmp_path / "m.pt").state_dict)
    for trust in (False, True):
        with pytest.raises(MptqError, match="is a TorchScript archive"):
            read_checkpoint(tmp_path / "s.pt", trust=trust)
