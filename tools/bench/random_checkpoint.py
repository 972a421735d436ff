"""A checkpoint of a timm architecture with random weights, for latency and memory where no trained one is at hand.

    python -m tools.bench.random_checkpoint ARCH FILE [--img-size N] [--depth N]

ARCH is a name of timm, FILE a .pt that `mptq-export` takes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import timm
import torch

from mptq_export.load.timm.architecture import check_name
from tools.options import Parser, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.random_checkpoint", __doc__)
    parser.add_argument("arch", metavar="ARCH")
    parser.add_argument("path", type=Path, metavar="FILE")
    parser.add_argument("--img-size", type=positive, metavar="N", help="Default: that of the architecture.")
    parser.add_argument("--depth", type=positive, metavar="N", help="Blocks. Default: those of the architecture.")
    return parser.run(run, arguments)


def run(*, arch: str, path: Path, **model_kwargs: int | None) -> None:
    given = {name: value for name, value in model_kwargs.items() if value is not None}
    write_random_checkpoint(arch, path, **given)


def write_random_checkpoint(arch: str, path: Path, **model_kwargs: int) -> Path:
    """Write weights of unit gain, norms near one, and biases that are not zero (a zero bias is optimised away).

    Args:
        arch: timm name.
        path: the file to write.
        model_kwargs: what timm makes the model with besides: fewer blocks (`depth=2`), another input (`img_size=224`).

    Raises:
        MptqError: timm does not know the name.
    """
    torch.manual_seed(0)
    model = timm.create_model(check_name(arch), **model_kwargs).requires_grad_(False)
    randomise(model)
    torch.save({"arch": arch, "model_kwargs": model_kwargs, "state_dict": model.state_dict()}, path)
    return path


def randomise(model: torch.nn.Module) -> None:
    """Set all parameters of a model, none of which asks for gradients."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight") and parameter.dim() > 1:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(0.2 * noise)


if __name__ == "__main__":
    sys.exit(main())
