"""The version of this package, for what files and pages say of who made them; `kernels_ref` has the same."""

__version__ = "0.2.2"
