"""Any module from Python: the names and kinds of what it gives, its input, what is refused of it."""

import copy
from typing import Any

import pytest
import timm
import torch
from own_modules import SIZE, Four, Lengths, Masked, Pair, Scores, Shaped, Trunk, made
from tiny_models import KINDS
from torch import nn

from mptq_export.load.loaded import LoadedModel
from mptq_export.load.run import load
from mptq_export.support.errors import MptqError

IMAGES = {"input_size": SIZE, "mean": 0.5, "std": (0.5, 0.4, 0.3)}


def loaded(model: nn.Module, **options: Any) -> LoadedModel:
    return load(model, **{**IMAGES, **options})


def kinds(model: LoadedModel) -> dict[str, str]:
    return {each.name: each.kind for each in model.outputs}


def test_outputs_have_the_names_that_the_module_gives_them():
    found = loaded(made(Four))
    assert kinds(found) == {
        "logits": "logits",
        "pred_boxes": "values",
        "last_hidden_state": "tokens",
        "pooler_output": "embedding",
    }
    assert (found.library, found.arch, found.class_names) == ("module", "Four", None)
    assert found.notes == (
        "kinds of the outputs by their names and axes: logits logits, pred_boxes values, last_hidden_state tokens, "
        "pooler_output embedding",
    )
    x = torch.randn(3, *SIZE)
    with torch.no_grad():
        ours, theirs = found.model(x), made(Four)(x)
    for name, value in zip(kinds(found), ours, strict=True):
        assert torch.equal(value, getattr(theirs, name))


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (lambda t, s: {"scores": s, "aux": {"tokens": t}}, {"scores": "values", "aux.tokens": "tokens"}),
        (lambda t, s: (s, [t, None]), {"output.0": "values", "output.1.0": "tokens"}),
        (lambda t, s: Pair(s, t), {"scores": "values", "tokens": "tokens"}),
        (lambda t, s: {"a b/c": t, 3: s}, {"a_b_c": "tokens", "output.3": "values"}),
        (lambda t, s: {"map": t.transpose(1, 2).unflatten(2, (4, 4)), "s": s[:, 0]}, {"map": "map", "s": "values"}),
        (lambda t, s: [t], {"output.0": "tokens"}),
        (
            lambda t, s: {"scores.p3": t, "boxes.p3": t[..., :4], "boxes.p4": t[:, :8, :4], "logits": t, "deltas": t},
            {"scores.p3": "scores", "boxes.p3": "boxes", "boxes.p4": "values", "logits": "values", "deltas": "tokens"},
        ),
        (lambda t, s: {"logits": t, "pred_boxes": t[..., :4]}, {"logits": "choices", "pred_boxes": "boxes"}),
    ],
)
def test_dicts_tuples_and_what_lies_in_them(shape: Any, names: dict[str, str]):
    assert kinds(loaded(made(Shaped, shape))) == names


def test_a_tensor_without_a_name_is_called_after_its_kind():
    model = made(Scores)
    assert kinds(loaded(model)) == {"embedding": "embedding"}
    assert "--outputs logits where it is logits" in loaded(model).notes[0]
    assert kinds(loaded(model, output="logits")) == kinds(loaded(model, outputs=["logits"])) == {"logits": "logits"}
    assert loaded(model, output="logits").notes == ()
    assert kinds(loaded(model, output="values")) == {"output": "values"}
    assert kinds(loaded(model, output={"output": "logits"})) == {"logits": "logits"}
    named = loaded(model, class_names=list("abcde"))
    assert (kinds(named), named.class_names) == ({"logits": "logits"}, tuple("abcde"))
    model.num_classes = 5
    assert kinds(loaded(model)) == {"logits": "logits"}
    assert "num_classes is 5" in loaded(model).notes[0]


def test_outputs_are_chosen_and_their_kinds_said():
    said = {"pred_boxes": "tokens", "logits": "values"}
    found = loaded(made(Four), outputs=["pred_boxes", "logits"], output=said)
    assert list(kinds(found).items()) == [("pred_boxes", "tokens"), ("logits", "values")]
    assert found.notes == ()
    assert found.asked.words()[:2] == ("--outputs", "pred_boxes=tokens,logits=values")
    (boxes, logits), whole = found.model(torch.ones(1, *SIZE)), made(Four)(torch.ones(1, *SIZE))
    assert torch.equal(boxes, whole.pred_boxes)
    assert torch.equal(logits, whole.logits)


def test_what_cannot_be_exported_may_be_left_out():
    model = made(Shaped, lambda t, s: {"scores": s, "label": s.argmax(1), "loss": s.sum(), "name": "x"})
    assert kinds(loaded(model, outputs=["scores"])) == {"scores": "values"}
    for name, why in (("label", "is int64"), ("loss", "is one number for 3 images"), ("name", "is a str, no tensor")):
        with pytest.raises(MptqError, match=f"the output {name} of Shaped {why}.*--outputs scores"):
            loaded(model, outputs=["scores", name])


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (lambda t, s: t.transpose(0, 1), "is 16 x 3 x 16 for 3 images: the batch must be its first axis"),
        (lambda t, s: {"input": s}, "is called as the file's own input is"),
        (lambda t, s: {"a": s.argmax(1)}, "is int64, and only floats can be exported; the model cannot be exported"),
        (lambda t, s: {"a": s[:, : len(s)]}, "has sizes that depend on the images"),
        (lambda t, s: object(), "is a object, no tensor"),
        (lambda t, s: None, "returns nothing for images"),
    ],
)
def test_outputs_that_no_file_can_give(shape: Any, why: str):
    with pytest.raises(MptqError, match=why):
        loaded(made(Shaped, shape))


def test_a_module_stays_as_it_is():
    model = Four().half().train()
    before = copy.deepcopy(model.state_dict())
    found = loaded(nn.DataParallel(model))
    assert found.notes[0] == "the module in DataParallel is taken"
    assert found.model is not model
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "forward" not in vars(model)
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}


def test_the_input_is_what_is_said():
    found = loaded(made(Scores))
    assert found.preprocessing.input_size == SIZE
    assert (found.preprocessing.mean, found.preprocessing.std) == ((0.5,) * 3, (0.5, 0.4, 0.3))
    assert (found.preprocessing.interpolation, found.preprocessing.crop_pct) == ("bicubic", 1.0)
    assert found.input_sources["mean"] == "--mean"
    assert "nothing confirms" in found.input_sources["interpolation"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_size": None}, "nothing says which images Scores takes"),
        ({"mean": None}, r"nothing says how the pixels of Scores are normalised; give --mean as"),
        ({"mean": None, "std": None}, "give --mean and --std"),
        ({"input_size": (224, 224)}, r"is not \(channels, height, width\)"),
        ({"img_size": 32}, "input_size says the channels and the size already"),
        ({"arch": "vit"}, "leave --arch out"),
        ({"model_kwargs": {"a": 1}}, "leave --model-kwargs out"),
        ({"features": [0]}, "no way to feature maps of Scores"),
        ({"outputs": ["boxes"]}, "no such output"),
        ({"output": {"boxes": "values"}}, "no such output; it has output"),
        ({"class_names": ["a"]}, "1 class names are given, and 5 logits"),
        ({"class_names": ["a"], "output": "embedding"}, "no output is logits"),
        ({"input_size": (3, 40, 40)}, r"Scores fails on 2 images of 3 x 40 x 40 at .*own_modules.py:\d+ \(return"),
        ({"input_size": (1, 32, 32), "std": 0.5}, "RuntimeError: .*expected input.* to have 3 channels"),
    ],
)
def test_what_is_refused_of_options(options: dict[str, Any], words: str):
    with pytest.raises(MptqError, match=words) as caught:
        loaded(made(Scores), **options)
    assert "\n" not in str(caught.value)


def test_one_kind_for_several_outputs_says_of_which():
    with pytest.raises(MptqError, match=r"logits is the kind of which output.*logits, pred_boxes"):
        loaded(made(Four), output="logits")


def test_a_forward_that_needs_more_than_pixels():
    with pytest.raises(MptqError, match="the forward of Masked needs more than pixels: mask, scale besides x; wrap it"):
        loaded(made(Masked))


def test_images_may_be_another_argument_than_the_first():
    class Both(Trunk):
        def forward(self, input_ids: Any = None, pixel_values: Any = None) -> torch.Tensor:
            assert input_ids is None
            return self.tokens(pixel_values)

    assert kinds(loaded(made(Both))) == {"tokens": "tokens"}


def test_torchscript_and_what_cannot_be_copied():
    traced = torch.jit.trace(made(Scores), torch.zeros(2, *SIZE))
    with pytest.raises(MptqError, match="is a TorchScript module"):
        loaded(traced)
    model = made(Lengths)
    model.kept = model.pos * 2
    with pytest.raises(MptqError, match="Lengths cannot be copied"):
        loaded(model)


def test_a_model_of_timm_says_its_input_itself():
    name, kwargs = KINDS["vit"]
    model = timm.create_model(name, **kwargs)
    found = load(model)
    assert (found.library, found.arch, kinds(found)) == ("timm", name, {"logits": "logits"})
    assert found.preprocessing.input_size == SIZE
    assert kinds(load(model, features=[0, 1])) == {"features.0": "map", "features.1": "map"}
    assert load(model, output="values", img_size=32).library == "module"
    assert kinds(load(timm.create_model(name, **{**kwargs, "num_classes": 0}))) == {"embedding": "embedding"}
