"""What was found of a file of a profile while it was written."""

from dataclasses import dataclass

from mptq_export.support.json_files import Json
from mptq_export.verify.difference import Difference


@dataclass(frozen=True)
class Profiled:
    """A file of a profile, of which every rule holds but for the exceptions.

    Attributes:
        name: of the profile.
        batch: inputs at once.
        rules: how many rules were looked at.
        exceptions: name of each exception that the file needs, and at how many places.
        plain: its tensors against those of the plain file.
    """

    name: str
    batch: int
    rules: int
    exceptions: dict[str, int]
    plain: Difference

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "batch": self.batch,
            "rules": self.rules,
            "broken": 0,
            "exceptions": dict(self.exceptions),
            "compared_with_plain": self.plain.values,
            "differing_from_plain": self.plain.differing,
        }
