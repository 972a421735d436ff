"""Words of a user that must be of a closed set."""

from collections.abc import Iterable

from mptq_export.support.errors import MptqError


def check_known(name: str, value: str | None, known: Iterable[str]) -> None:
    """Refuse what is none of a closed set.

    Args:
        name: of the option.
        value: its value; None where it was left out.
        known: the set.

    Raises:
        MptqError: it is none of it.
    """
    if value is not None and value not in known:
        raise MptqError(f"{name} {value!r} is not known; choose one of {', '.join(known)}")
