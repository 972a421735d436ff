"""What a release says of itself, in all the places where it does."""

import re
import tomllib
from pathlib import Path

import yaml
from setuptools.config.expand import read_attr

import kernels_ref
import mptq_export

REPO = Path(__file__).resolve().parents[2]
VERSION = mptq_export.__version__
#: The folder of each distribution, and where its version stands.
DISTRIBUTIONS = {
    ".": "mptq_export.support.version.__version__",
    "distributions/device": "mptq_export.support.version.__version__",
    "distributions/kernels_ref": "kernels_ref.__version__",
}


def settings(folder: str) -> dict:
    return tomllib.loads((REPO / folder / "pyproject.toml").read_text(encoding="utf-8"))


def test_one_version():
    assert kernels_ref.__version__ == VERSION
    for folder, attribute in DISTRIBUTIONS.items():
        read = settings(folder)["tool"]["setuptools"]["dynamic"]["version"]["attr"]
        assert read == attribute
        assert read_attr(read, {"": "."}, REPO / folder) == VERSION
    changes = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (.*)$", changes, re.MULTILINE)[1] == VERSION
    assert yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION


def test_the_small_distributions_are_parts_of_the_whole():
    whole, device, reference = (settings(folder)["project"] for folder in DISTRIBUTIONS)
    for part in (device, reference):
        assert set(part["dependencies"]) < set(whole["dependencies"])  # the bounds too
        assert all(part[key] == whole[key] for key in ("requires-python", "license"))
    assert device["scripts"].items() < whole["scripts"].items()
    assert set(reference["dependencies"]) < set(device["dependencies"])


def test_issue_templates_are_what_a_forge_reads():
    for path in (REPO / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name == "config.yml":
            assert form == {"blank_issues_enabled": True}
            continue
        assert form["name"] and form["description"]
        asked = [field for field in form["body"] if field["type"] != "markdown"]
        assert any(field.get("validations", {}).get("required") for field in asked), path.name
        assert len({field["id"] for field in asked}) == len(asked)
        commands = re.findall(r"`(mptq-[a-z]+) ", path.read_text(encoding="utf-8"))
        assert set(commands) <= set(settings(".")["project"]["scripts"])


def test_the_container_runs_targets_that_there_are():
    container = (REPO / "Dockerfile").read_text(encoding="utf-8")
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    assert "RUN make .venv/installed-dev" in container and "DEV_STAMP := .venv/installed-dev" in makefile
    for target in re.findall(r"make ([a-z-]+)", container.partition("CMD")[2]):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
