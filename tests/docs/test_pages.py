"""README and tutorial work as they are written: their commands run in a fresh copy, and print what the pages show."""

import contextlib
import importlib
import io
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mptq_export.data.decode import read_picture
from mptq_export.data.preprocessing import Preprocessing
from tools.pages.blocks import PageError, blocks_of, with_text
from tools.pages.follow import PAGES, Printed, follow, renewed, stale
from tools.pages.fresh import REPO, fresh_copy
from tools.pages.shell import Said, run_command
from tools.pages.steps import steps_of
from tools.pages.varying import comparable, difference

README, _, TUTORIAL, DEPLOYING = PAGES
PAGE = """# Page
```sh
first \\
  --option   # a remark
# nothing else

second
```
They print <!-- printed by -->old<!-- end -->:

```text
one 3 ms
two
```

<!-- slow -->
<!-- needs no_such_module -->
```python
print(1)
```
<!-- not run: it costs money -->
```sh
third
```
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return fresh_copy(tmp_path / "clone")


@pytest.mark.parametrize(
    "pages", [[TUTORIAL, DEPLOYING], [README, TUTORIAL, DEPLOYING]], ids=["fresh", "after the demo"]
)
def test_what_the_commands_print_is_what_the_pages_show(clone: Path, pages: list[Path]):
    """In this process, where tests share what exports make."""
    compared(clone, pages, slow=False, run=run_here, python=python_here)


@pytest.mark.slow
@pytest.mark.parametrize("pages", [[TUTORIAL, DEPLOYING], list(PAGES)], ids=["fresh", "after the demo"])
def test_the_same_in_a_shell_with_the_steps_that_take_long(clone: Path, pages: list[Path]):
    compared(clone, pages, slow=True)


def compared(folder: Path, pages: list[Path], **how: Any) -> None:
    other = [line for page in pages for line in [stale(page)] if line]
    for page in pages:
        for each in follow(page, folder, **how):
            where = f"{page.name}:{each.step.block.line}, python -m tools.pages renew\n"
            assert other or not each.differs(), where + each.differs()
    if other:
        pytest.skip(f"every command ended well, but was not compared: {'; '.join(other)}")


def run_here(command: str, folder: Path) -> Said:
    """One of the package's commands in this process, others in a shell."""
    name, *arguments = shlex.split(command, comments=True)
    if not name.startswith("mptq-"):
        return run_command(command, folder)
    with contextlib.chdir(folder):
        main = importlib.import_module(f"mptq_export.cli.{name.removeprefix('mptq-')}").main
        result = CliRunner().invoke(main, arguments)
    return Said(result.exit_code, result.stdout, result.stderr)


def python_here(program: str, folder: Path) -> Said:
    """A program in this process."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        exec(compile(program, "page", "exec"), {"__name__": "page"})
    return Said(0, out.getvalue(), "")


def test_make_demo_runs_the_commands_that_the_readme_shows():
    shown = next(step.commands for step in steps_of(README.read_text()) if step.shown)
    made = subprocess.run(["make", "-n", "demo", "BIN=/b"], cwd=REPO, capture_output=True, check=True, text=True).stdout
    done = [line.removeprefix("/b/") for line in made.splitlines() if line.startswith(("/b/mptq-", "mkdir"))]
    assert tuple(done) == shown


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """JPEGs and others, upright and lying, larger and smaller than the input."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for number, (width, height) in enumerate([(301, 200), (223, 480), (40, 33), (64, 64), (1001, 97)]):
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).resize((width, height))
        for ending, mode in ((".jpg", "RGB"), (".jpg", "L"), (".jpg", "CMYK"), (".png", "RGBA"), (".png", "P")):
            found.append(folder / f"{number}-{mode}{ending}")
            image.convert(mode).save(found[-1])
    return found


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "crop_pct"), [(64, 0.875), (97, 0.9), (32, 1.0), (48, 0.95)])
def test_the_ten_lines_give_what_the_tool_feeds_a_model(
    pictures: list[Path], interpolation: str, size: int, crop_pct: float
):
    own = Preprocessing((3, size, size), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation, crop_pct)
    for path in pictures:
        wanted = own.normalize(own.transform_uint8(read_picture(path, exif=False).image)[None])
        got = ten_lines()(path, own.to_metadata())
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.tobytes() == wanted.tobytes(), path.name


def ten_lines() -> Any:
    """The function `prepare` of the page, without what stands below it."""
    program = next(step.block.text for step in steps_of(DEPLOYING.read_text()) if step.is_python)
    found: dict[str, Any] = {}
    exec(program.partition("\nsession = ")[0], found)
    assert len(program.partition('"""\n')[2].partition("\n\n")[0].splitlines()) == 10
    return found["prepare"]


def test_a_page_is_read_as_it_is_meant():
    first, second, third = steps_of(PAGE)
    assert first.commands == ("first    --option   # a remark", "second")
    assert first.shown is not None and first.shown.text == "one 3 ms\ntwo\n"
    assert (second.is_python, second.slow, second.missing, second.shown) == (True, True, True, None)
    assert third.not_run == "it costs money"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("    ls\n", "line 1: a block by indentation"),
        ("- see\n\n  ```sh\n  ls\n  ```\n", "line 3: a block within a list"),
        ("```text\nx\n```\n", "no commands stand before"),
        ("```\nls\n```\n", "a block of 'nothing'"),
        ("<!-- sometimes -->\n```sh\nls\n```\n", "'sometimes' above a block is none of"),
        ("<!-- not run: no -->\n```sh\nls\n```\n```text\nx\n```\n", "what is not run prints nothing"),
    ],
)
def test_what_cannot_be_followed_is_named(text: str, words: str):
    with pytest.raises(PageError, match=words):
        steps_of(text)


def following(tmp_path: Path, text: str, said: Said) -> Iterator[Printed]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return follow(page, tmp_path, slow=True, run=lambda _command, _folder: said)


@pytest.mark.parametrize(
    ("command", "said", "words"),
    [
        ("ls", Said(2, "", "error: no"), "line 1: 'ls' ends with status 2\nerror: no"),
        ("cd out && ls", Said(0, "", ""), "leaves the reader in another folder"),
    ],
)
def test_a_command_that_fails_or_leads_away_ends_the_page(tmp_path: Path, command: str, said: Said, words: str):
    with pytest.raises(PageError, match=words):
        list(following(tmp_path, f"```sh\n{command}\n```\n", said))


def test_only_what_may_vary_is_passed_over(tmp_path: Path):
    shown = "load   39 ms until\nchecked 0 of 10 (3 images, 1.3 s)\nsize 0.33 MB"
    assert difference(shown, "load   140.5 ms until\nchecked 0 of 10 (3 images, 12 s)  \nsize 0.33 MB\n") == ""
    for other in ("size 0.34 MB", "checked 1 of 10 (3 images, 1.3 s)", "load   39 s until"):
        line = next(line for line in shown.splitlines() if line.split()[0] == other.split()[0])
        assert difference(shown, shown.replace(line, other)) != ""
    assert comparable("mean 4 states, 3 samples, 2 msgs") == "mean 4 states, 3 samples, 2 msgs"


def test_renewing_writes_what_is_printed_and_nothing_that_only_varies(tmp_path: Path):
    said = Said(0, "one 5 ms\n", "stage: 3 s\nwarning: beware\n")
    new = renewed(PAGE, list(following(tmp_path, PAGE, said)))
    assert "```text\nwarning: beware\none 5 ms\nwarning: beware\none 5 ms\n```" in new
    assert "<!-- printed by -->onnxruntime " in new and "old" not in new
    same = renewed(PAGE, list(following(tmp_path, PAGE.replace("first", "second"), Said(0, "one 5 ms\ntwo\n", ""))))
    assert "one 5 ms\ntwo\none 5 ms" in same
    once = PAGE.replace("\nsecond\n", "\n")
    kept = renewed(once, list(following(tmp_path, once, Said(0, "one 5 ms\ntwo\n", ""))))
    assert "one 3 ms\ntwo\n```" in kept


def test_an_empty_block_is_filled():
    page = "```sh\nls\n```\n```text\n```\nend\n"
    assert with_text(page, blocks_of(page)[1], "a\n") == "```sh\nls\n```\n```text\na\n```\nend\n"


def test_a_fresh_copy_holds_what_git_tracks_and_no_more(clone: Path):
    assert (clone / "examples/digits/digits_vit.pt").read_bytes() == (clone / "model.pt").read_bytes()
    assert not {"out", ".venv", ".git"} & set(os.listdir(clone))
