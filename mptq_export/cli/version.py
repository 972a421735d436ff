"""``--version`` of every command: what a report of a defect has to say of the environment."""

import platform
from importlib.metadata import distributions

import click

from mptq_export.support.version import __version__

#: Named where they are installed, in this order; builds of onnxruntime have names of their own (onnxruntime-gpu).
_NAMED = ("onnxruntime", "onnx", "numpy", "torch", "torchvision", "timm", "transformers")


def version_option() -> click.Option:
    """The option; nothing is imported for it, so that it is quick and says what is there even if it does not import."""
    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_show,
        help="Versions of this package and of what it runs on.",
    )


def version_lines(name: str) -> list[str]:
    """What `--version` says.

    Args:
        name: that of the command.
    """
    found = {(each.name or "").lower(): each.version for each in distributions()}
    runtimes = sorted(each for each in found if each.startswith("onnxruntime-"))
    named = [f"{each} {found[each]}" for each in (_NAMED[0], *runtimes, *_NAMED[1:]) if each in found]
    return [
        f"{name} {__version__}",
        ", ".join(named) or "nothing that it runs on is installed",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    ]


def _show(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        click.echo("\n".join(version_lines(str(context.command.name))))
        context.exit()
