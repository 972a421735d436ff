"""mptq-export: a trained vision transformer in, one bit-exact integer QDQ ONNX file out.

```python
from mptq_export import load, calibrate, export, verify

calibrated = calibrate(load("model.pt"), "images/")
export(calibrated, "model.onnx", bits=(4, 4))
assert verify("model.onnx").passed
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mptq_export.support.version import __version__ as __version__

if TYPE_CHECKING:
    from mptq_export.api import allocate, calibrate, export, load, open_search, verify
    from mptq_export.detect.opened import open_detector
    from mptq_export.export.one_file import join_detector

__all__ = ["allocate", "calibrate", "export", "join_detector", "load", "open_detector", "open_search", "verify"]

# The module that has each. What runs or checks a finished file needs no torch, and does not import it.
_WHERE = {name: "mptq_export.api" for name in __all__} | {
    "verify": "mptq_export.verify.run",
    "join_detector": "mptq_export.export.one_file",
    "open_detector": "mptq_export.detect.opened",
}

# The verbs are the names of folders, too. Importing a folder for the first time makes it an attribute of this package,
# so that is done here (they are empty), and undone: `mptq_export.load` stays the function.
for _name in ("allocate", "calibrate", "export", "load", "verify"):
    import_module(f"mptq_export.{_name}")
    del globals()[_name]


def __getattr__(name: str) -> Any:
    """The verbs, with all that they import, when one is first asked for."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
