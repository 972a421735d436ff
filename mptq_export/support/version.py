"""The version of this package, for what files and pages say of who made them; `pyproject.toml` says the same."""

__version__ = "0.1.0"
