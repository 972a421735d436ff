"""The blocks of code of a page, each with what the comments above it say."""

from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token


class PageError(Exception):
    """A page that cannot be followed as it is written."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of its opening fence, from 1.
        language: the first word behind the fence.
        text: what it holds.
        comments: the HTML comments between it and the text before it, without their marks.
    """

    line: int
    language: str
    text: str
    comments: tuple[str, ...]


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page, in its order.

    Raises:
        PageError: a block is indented, so that nothing says what it is, or stands within a list.
    """
    tokens = MarkdownIt().enable("table").parse(text)
    found = []
    for place, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "code_block":
            raise PageError(
                f"line {line}: a block by indentation; write ```sh, ```text (what commands print), ```python"
            )
        if token.type == "fence" and token.level:
            raise PageError(f"line {line}: a block within a list or quotation; put it between paragraphs")
        if token.type == "fence":
            found.append(Block(line, token.info.split(" ")[0], token.content, _comments_above(tokens[:place])))
    return found


def with_text(text: str, block: Block, content: str) -> str:
    """The page with other content in one of its blocks; content ends with a newline, or is empty."""
    lines = text.splitlines(keepends=True)
    end = block.line + len(block.text.splitlines())
    return "".join([*lines[: block.line], content, *lines[end:]])


def _comments_above(before: list[Token]) -> tuple[str, ...]:
    comments: list[str] = []
    for token in reversed(before):
        if token.type != "html_block":
            break
        comments += [part.partition("<!--")[2].strip() for part in token.content.split("-->")][-2::-1]
    return tuple(reversed(comments))
