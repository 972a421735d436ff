"""The page docs/sonnx-rules.md: every rule of the profile with its source, every exception with its reason.

python -m tools.profile_rules      writes the page
"""

import sys

from mptq_export.profile.exceptions import EXCEPTIONS
from mptq_export.profile.table import RULES
from tools.figures.models import REPO
from tools.figures.show import markdown_table

PAGE = REPO / "docs" / "sonnx-rules.md"

_INTRODUCTION = """\
# Rules of the profile sonnx

What `mptq-verify FILE --profile sonnx` holds a file against ([sonnx.md](sonnx.md)). It reads the ONNX file alone. The
words are those of this project; a source names the document of the ONNX working group for a safety-related profile
(drafts in the repository onnx/working-groups, folder safety-related-profile), the first digits of the commit that was
read, and the place in it. `python -m tools.profile_rules` writes this page from `mptq_export/profile/table.py` and
`exceptions.py`.

## Rules
"""

_EXCEPTIONS = """
## Exceptions
What a file of this program does otherwise, and why. All else that breaks a rule is a broken rule.
"""


def page() -> str:
    """The whole page."""
    rules = markdown_table(("rule", "what it says", "source"), [(rule.name, rule.says, rule.source) for rule in RULES])
    rows = [(each.name, each.rule, each.says, each.reason) for each in EXCEPTIONS]
    exceptions = markdown_table(("exception", "to", "what is excepted", "because"), rows)
    return f"{_INTRODUCTION}\n{rules}\n{_EXCEPTIONS}\n{exceptions}\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
