"""A folder of transformers, before anything heavy is imported."""

from mptq_export.load.door import Door
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.folder import Folder, folder_of
from mptq_export.load.transformers.library import check_installed
from mptq_export.support.errors import MptqError


def check_folder(asked: ModelRequest) -> None:
    """Refuse a folder without the library, or whose files cannot be it.

    Raises:
        MptqError: transformers is not installed; the folder has no weights, code of its own, or damaged files; or a
            base model is given for what is no adapter.
    """
    if asked.base is not None:
        raise MptqError(f"--base is for adapters of PEFT, and {asked.name} is a whole model; leave it out")
    path = folder_of(asked)
    assert path is not None  # so it was taken
    folder = Folder(path)
    folder.check(trust=asked.trust)
    check_installed(folder.path)


DOOR = Door(lambda asked: folder_of(asked) is not None, check_folder)
