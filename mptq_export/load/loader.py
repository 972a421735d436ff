"""A way to load a model: how one knows that it is the right one, and what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mptq_export.load.file.checkpoint import Checkpoint, read_checkpoint
from mptq_export.load.file.content import Content, content_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.request import ModelRequest


@dataclass(frozen=True)
class Source:
    """What the user named.

    Attributes:
        asked: the name (a file, a folder, or such as ``timm:NAME``), and what else was said.
    """

    asked: ModelRequest

    @cached_property
    def kind(self) -> Content:
        """What lies under the name, by its content: no weight is read. `Content.MISSING` for names that are no paths.

        Raises:
            MptqError: it may not be read.
        """
        return content_of(Path(self.asked.name))

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The named file, read once.

        Raises:
            MptqError: it is no checkpoint, or cannot be read.
        """
        return read_checkpoint(Path(self.asked.name), trust=self.asked.trust)


@dataclass(frozen=True)
class Loader:
    """One way.

    Attributes:
        recognises: whether a source is its own; it may raise `MptqError` where the source cannot be read at all.
        load: the model with all that is known of it; it raises `MptqError` where there is none.
    """

    recognises: Callable[[Source], bool]
    load: Callable[[Source], LoadedModel]
