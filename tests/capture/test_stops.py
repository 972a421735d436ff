"""What stops a capture is named: the op, the module, the line of the user's own source."""

import inspect
import re
from pathlib import Path

import own_modules
import pytest
import torch
from own_modules import SIZE, Branching, Fourier, Lengths, made
from torch import nn

from mptq_export.capture.run import capture
from mptq_export.capture.user_source import of_text
from mptq_export.recipe.outputs import Output
from mptq_export.support.errors import MptqError


def line_of(code: str) -> str:
    """`own_modules.py:NUMBER (CODE` of the line that holds some code."""
    lines = inspect.getsource(own_modules).splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if code in line)
    return rf"own_modules\.py:{number} \({re.escape(lines[number - 1].strip())}"


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (Lengths, "len(x)", "takes only as many images as it was tried with"),
        (Branching, ".item()", "Branching cannot be captured by torch.export in gate.0 at"),
        (Fourier, "fft.fft", "the model at .* uses aten.fft_fft.default"),
    ],
)
def test_the_line_is_named(kind: type[nn.Module], code: str, words: str, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(MptqError, match=words) as caught:
        capture(made(kind), SIZE)
    assert re.search(line_of(code), str(caught.value))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # torch prints what it has got so far


def test_the_module_of_an_op_is_named_with_the_line_that_runs_it():
    class Tall(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x, 1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(nn.Flatten(), Tall())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks(x)

    with pytest.raises(MptqError, match=rf"blocks\.1 at .*{Path(__file__).name}:\d+ \(return torch.cumsum"):
        capture(Model(), (3, 8, 8))


def test_a_handler_that_refuses_names_the_line_as_well():
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(0)

    with pytest.raises(MptqError, match=r"\(\S*test_stops.py:\d+ \(return x.mean\(0\)\)\)"):
        capture(Model(), (3, 8, 8))


def test_the_users_own_line_goes_before_a_librarys():
    stack = 'File "/a/site-packages/lib/m.py", line 3, in f\n  y\nFile "/home/me/net.py", line 7, in g\n  z = f(x)\n'
    assert str(of_text(stack)) == "/home/me/net.py:7 (z = f(x))"
    deeper = stack + 'File "/a/site-packages/lib/n.py", line 9, in h\n  w\n'
    assert str(of_text(deeper)) == "/home/me/net.py:7 (z = f(x))"
    assert str(of_text('File "/a/site-packages/lib/n.py", line 9, in h\n  w\n')) == "/a/site-packages/lib/n.py:9 (w)"
    assert of_text(f'File "{torch.__file__}", line 9, in h\n  w\n') is None
    assert of_text('File "<string>", line 9, in h\n') is None


def test_outputs_that_are_no_images():
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x.flatten(1).transpose(0, 1), torch.ones(1, 3)

    with pytest.raises(MptqError, match="the batch is not the first axis of the output a, but axis 1"):
        capture(Turned(), (3, 2, 2), (Output("a", "values"), Output("b", "values")))
