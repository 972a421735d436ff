"""``python -m mptq_export COMMAND ...``: the commands where their scripts are not on the path."""

import sys
from importlib import import_module

_COMMANDS = ("export", "verify", "eval", "bench", "report")


def main() -> None:
    """Run ``mptq-COMMAND`` with what follows; or say which there are, with ``--version`` of all."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in _COMMANDS:
        sys.argv[:] = [f"mptq-{name}", *sys.argv[2:]]
        import_module(f"mptq_export.cli.{name}").main()
    elif name == "--version":
        from mptq_export.cli.version import version_lines  # noqa: PLC0415 - click is not needed to hand on

        sys.stdout.write("\n".join(version_lines("mptq-export")) + "\n")
    else:
        usage = f"usage: python -m mptq_export {{{','.join(_COMMANDS)}}} ...    (each has --help)\n"
        if name in ("-h", "--help"):
            sys.stdout.write(usage)
        else:
            sys.stderr.write(f"error: there is no command {name}. {usage}")
            sys.exit(2)


if __name__ == "__main__":
    main()
