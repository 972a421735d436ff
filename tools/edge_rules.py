"""The page docs/edge-rules.md: every rule of every target with its source, from `mptq_export/targets/file/table.py`.

python -m tools.edge_rules      writes the page
"""

import sys

from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.table import FILE_RULES
from tools.figures.models import REPO
from tools.figures.show import markdown_table

PAGE = REPO / "docs" / "edge-rules.md"

_INTRODUCTION = """\
# Rules of files for accelerators

What a portable file ([edge.md](edge.md)) has to be for each target. `mptq-export` reads the finished ONNX file, without
looking at what wrote it, and no file appears that breaks a rule; before any image is read it does so with made-up
codes. A refusal begins with the name of the rule.

*Run*: a test runs the rule in the runtime itself, or in its maker's simulator. *Read*: a document of the runtime says
so, and nobody here ran it. `python -m tools.edge_rules` writes this page from `mptq_export/targets/file/table.py`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(_section(name, rules) for name, rules in FILE_RULES.items())])


def _section(name: str, rules: tuple[FileRule, ...]) -> str:
    rows = [(rule.name, rule.says, rule.source) for rule in rules]
    return f"## {name}\n\n{markdown_table(('rule', 'what it says', 'source'), rows)}\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
