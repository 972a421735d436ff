"""The kinds of names, in the order in which they are asked: what can be refused of a model without torch."""

from pathlib import Path

from mptq_export.load.door import Door
from mptq_export.load.file.door import DOOR as FILE
from mptq_export.load.hf_hub import DOOR as HF_HUB
from mptq_export.load.module.door import CODE, PROGRAM
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm.door import DOOR as TIMM_HUB
from mptq_export.load.transformers.adapter_folder import DOOR as ADAPTER
from mptq_export.load.transformers.door import DOOR as TRANSFORMERS

DOORS: tuple[Door, ...] = (TIMM_HUB, HF_HUB, CODE, PROGRAM, TRANSFORMERS, ADAPTER, FILE)
"""The first that takes a request checks it; the last takes what is left, and says what is wrong with it."""


def check_asked(asked: ModelRequest) -> None:
    """Refuse what a look at the disk shows.

    Raises:
        MptqError: there is no such model, or it is nothing that any of the ways in `loaders.py` can load.
    """
    _door_of(asked).check(asked)


def default_output(name: str) -> Path:
    """Where the export of a model is written if nothing else is said.

    Raises:
        MptqError: the name is that of a file that may not be read.
    """
    return _door_of(ModelRequest(name)).output(name)


def _door_of(asked: ModelRequest) -> Door:
    return next(door for door in DOORS if door.takes(asked))
