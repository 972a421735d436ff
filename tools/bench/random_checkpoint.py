"""A checkpoint of a timm architecture with random weights, for time and memory where no trained one is at hand.

python -m tools.bench.random_checkpoint ARCH FILE [--img-size N]
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
    return parser.run(run, arguments)


def run(*, arch: str, path: Path, img_size: int | None) -> None:
    write_random_checkpoint(arch, path, {} if img_size is None else {"img_size": img_size})


def write_random_checkpoint(arch: str, path: Path, model_kwargs: dict[str, int] | None = None) -> Path:
    """Write weights of unit gain, norms near one, and biases that are not zero (a zero bias is optimised away).

    Args:
        arch: timm name.
        path: the file to write.
        model_kwargs: of timm's `create_model` besides.

    Raises:
        MptqError: timm does not know the name.
    """
    torch.manual_seed(0)
    model_kwargs = model_kwargs or {}
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
