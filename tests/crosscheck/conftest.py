"""The scripts of tools/crosscheck travel without a package: their folder goes onto the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "crosscheck"))
