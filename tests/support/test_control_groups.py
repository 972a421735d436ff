"""Memory under the limits of groups, as Linux shows them in files."""

import math
from pathlib import Path

import pytest

from mptq_export.support.control_groups import memory_left

GB = 10**9
NONE = 9223372036854771712
"""What the first version shows where there is no limit."""


def group(folder: Path, version: int, limit: object, use: int, files: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (limit, use), strict=True):
        (folder / name).write_text(f"{value}\n")
    counted = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 1\n{counted} {files}\nslab 2\n")


def left(tmp_path: Path, *lines: str) -> float:
    own = tmp_path / "cgroup"
    own.write_text("".join(f"{line}\n" for line in lines))
    return memory_left(tmp_path / "groups", own)


def test_the_group_of_a_job_bounds_it(tmp_path: Path):
    groups = tmp_path / "groups"
    group(groups / "system.slice", 2, "max", 60 * GB)
    group(groups / "system.slice" / "job_7", 2, 24 * GB, 10 * GB, files=4 * GB)
    group(groups / "system.slice" / "job_7" / "step_0", 2, "max", 9 * GB)
    assert left(tmp_path, "0::/system.slice/job_7/step_0") == 18 * GB
    assert left(tmp_path, "0::/system.slice") == math.inf


def test_the_narrowest_of_all_groups_counts(tmp_path: Path):
    groups = tmp_path / "groups"
    group(groups / "a", 2, 8 * GB, 5 * GB)
    group(groups / "a" / "b", 2, 100 * GB, 1 * GB)
    assert left(tmp_path, "0::/a/b") == 3 * GB
    group(groups / "a", 2, 8 * GB, 9 * GB)
    assert left(tmp_path, "0::/a/b") == 0


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path):
    group(tmp_path / "groups", 2, 4 * GB, 1 * GB)
    assert left(tmp_path, "0::/") == left(tmp_path, "0::/docker/1f2e") == 3 * GB


def test_the_first_version(tmp_path: Path):
    memory = tmp_path / "groups" / "memory"
    group(memory, 1, NONE, 7 * GB)
    group(memory / "docker" / "1f:2e", 1, 6 * GB, 5 * GB, files=1 * GB)
    lines = ("9:name=systemd:/", "5:cpu,cpuacct:/docker/1f:2e", "4:memory:/docker/1f:2e", "0::/")
    assert left(tmp_path, *lines) == 2 * GB
    assert left(tmp_path, "4:memory:/") > 2**50


@pytest.mark.parametrize("line", ["", "no group", "0::/gone"])
def test_no_group_is_no_bound(tmp_path: Path, line: str):
    assert left(tmp_path, line) == math.inf
    assert memory_left(tmp_path, tmp_path / "none") == math.inf
