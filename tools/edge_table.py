"""The table of targets in docs/edge.md, from `mptq_export/targets/table.py`.

python -m tools.edge_table      writes it into the page
"""

import re
import sys
from pathlib import Path

from mptq_export.targets.portable import AttentionCodes, PortableForm
from mptq_export.targets.table import TARGETS
from tools.figures.models import REPO
from tools.figures.show import markdown_table

PAGE = REPO / "docs" / "edge.md"
_REGION = re.compile(r"(<!-- targets -->\n).*?(<!-- end of targets -->)", re.DOTALL)
_HEAD = ("target", "form", "widths", "residual", "codes", "softmax", "opset", "batch", "run here", "promise")
_SOFTMAX: dict[AttentionCodes, str] = {
    "unsigned": "unsigned",
    "lowest": "signed, from the lowest",
    "positive": "signed, from 0",
}
_EXACT = ("exact", "2 to 8 / 2 to 8", "16", "integers, proved", "own", "21", "free", "yes", "the same bits")


def table() -> str:
    """A row a target."""
    rows = []
    for name, target in TARGETS.items():
        form = target.portable
        rows.append((f"`{name}`", *(_EXACT if form is None else _portable(form))))
    return markdown_table(_HEAD, rows)


def rendered(text: str) -> str:
    """The page with its table made again."""
    return _REGION.sub(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", text)


def main() -> int:
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{Path(PAGE)} is written")
    return 0


def _portable(form: PortableForm) -> tuple[str, ...]:
    kind = f"{'signed' if form.signed else 'unsigned'}, {'symmetric' if form.symmetric else 'asymmetric'}"
    return (
        "portable",
        f"{_either(form.weight_bits)} / {_either(form.activation_bits)}",
        _either(form.residual_bits) if form.everywhere else "float",
        f"{kind}, {'on every tensor' if form.everywhere else 'where matmuls read'}",
        _SOFTMAX[form.attention],
        str(form.opset),
        "one" if form.fixed_batch else "free",
        "yes" if form.run else "read",
        "near, measured" if form.run else "none",
    )


def _either(bits: tuple[int, ...]) -> str:
    return " or ".join(map(str, sorted(bits)))


if __name__ == "__main__":
    sys.exit(main())
