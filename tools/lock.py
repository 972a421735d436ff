"""Write examples/digits/requirements.lock: every package of a working demo, with its version and hash.

    python -m tools.lock

pip resolves the newest versions that pyproject.toml and constraints.txt allow, for this Python and platform, without
installing them. `make wheel` installs from the lock and runs the demo with it.
"""

import json
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LOCK = REPO / "examples" / "digits" / "requirements.lock"


def main() -> None:
    resolve = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [*resolve, "-c", str(REPO / "constraints.txt"), str(REPO)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    lines = []
    for entry in report["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        archive = entry["download_info"].get("archive_info", {})
        if "hashes" in archive:  # the project itself has none
            lines.append(f"{name.lower()}=={version} --hash=sha256:{archive['hashes']['sha256']}")
    where = f"{platform.python_implementation()} {platform.python_version()}, {sysconfig.get_platform()}"
    head = f"# Made by tools/lock.py for {where}. Install with: pip install --no-deps -r FILE\n"
    LOCK.write_text(head + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    print(f"{LOCK}: {len(lines)} packages")


if __name__ == "__main__":
    main()
