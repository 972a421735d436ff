"""What every evaluation tells besides its figures."""

from mptq_export.evaluate.edge import RanIn
from mptq_export.support.json_files import Json


class Told:
    """Files and pictures of an evaluation, and where it ran: fields of the dataclasses that have them.

    Attributes:
        about: files and pictures, as plain JSON values, with what the user should know as `warnings`.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """

    about: dict[str, Json]
    ran_in: RanIn | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        told = self.about["warnings"]
        assert isinstance(told, list)
        return tuple(map(str, told))

    def with_origin(self, figures: dict[str, Json]) -> dict[str, Json]:
        """Figures with what they are of, and where they were found."""
        ran_in = {} if self.ran_in is None else {"ran_in": self.ran_in.to_json()}
        return {**figures, **self.about, **ran_in}
