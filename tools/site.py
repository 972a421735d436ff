"""The site's pages from the root of the repository, a hook of `mkdocs.yml`: how to contribute, and what changed."""

import re
from pathlib import Path
from typing import Any

from properdocs.structure.files import File

REPO = Path(__file__).resolve().parents[1]

#: Files of the root, and what they are called among the pages.
ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add them to the files of `docs/`."""
    for name, page in ROOT.items():
        files.append(File.generated(config, page, content=(REPO / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between them and the pages of `docs/`, which are written as the repository lies."""
    place = page.file.src_uri
    if place in ROOT.values():
        markdown = markdown.replace("](docs/", "](")
    up = "../" * place.count("/")
    for name, there in ROOT.items():
        markdown = re.sub(rf"\]\((?:\.\./)*{re.escape(name)}", f"]({up}{there}", markdown)
    return markdown
