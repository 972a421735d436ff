"""What the project is measured and kept with, run as ``python -m tools.NAME`` from the repository's root."""
