"""What calibration inputs look like when they are not what was meant."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MANY = 0.1
_DARK = 32
"""Codes below this are nearly black; masks hold small numbers, and so do 16-bit files that use 12 bits."""


class Suspicions:
    """Looks at inputs one by one, and says at the end what all or many of them have in common."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._count = self._plain = 0
        self._brightest: int | None = None

    def look(self, values: NDArray[Any]) -> None:
        """Take one input into account.

        Args:
            values: (height, width, channels), pixels (uint8) or normalised.
        """
        self._count += 1
        self._seen.add(hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest())
        self._plain += bool((values == values[0, 0]).all())
        if values.dtype == np.uint8:
            self._brightest = max(self._brightest or 0, int(values.max()))

    def warnings(self, what: str) -> tuple[str, ...]:
        """A sentence each.

        Args:
            what: the inputs, for people.
        """
        repeated = self._count - len(self._seen)
        if self._count > 1 and len(self._seen) == 1:
            return (f"{what} are all the same: calibration sees one; give different ones",)
        notes = []
        if self._brightest is not None and self._brightest < _DARK:
            notes.append(
                f"{what} are nearly black (no pixel above {self._brightest} of 255): label masks, or 16-bit files that "
                "use fewer bits?"
            )
        elif self._plain > _MANY * self._count:
            notes.append(f"{self._plain} of {what} are of one colour: calibration learns nothing from them")
        if repeated > self._count / 2:
            notes.append(f"{repeated} of {what} repeat another one: calibration sees {len(self._seen)}")
        return tuple(notes)
