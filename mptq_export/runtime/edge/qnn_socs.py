"""Qualcomm's systems on a chip, by the names and the numbers that its libraries know them by."""

from dataclasses import dataclass

from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Soc:
    """One of them.

    Attributes:
        name: Qualcomm's part name.
        number: `soc_model` of the QNN provider.
        htp: version of its HTP; those up to 69 round a little otherwise than those from 73 on.
        sold_as: what devices with it say; empty where that is no mobile platform with a name.
    """

    name: str
    number: int
    htp: int
    sold_as: str = ""


SOCS: tuple[Soc, ...] = (
    Soc("SM8350", 30, 68, "Snapdragon 888"),
    Soc("SM8450", 36, 69, "Snapdragon 8 Gen 1"),
    Soc("SM8475", 42, 69, "Snapdragon 8+ Gen 1"),
    Soc("SM8550", 43, 73, "Snapdragon 8 Gen 2"),
    Soc("SM8650", 57, 75, "Snapdragon 8 Gen 3"),
    Soc("SM8750", 69, 79, "Snapdragon 8 Elite"),
    Soc("SM8845", 97, 81, "Snapdragon 8 Gen 5"),
    Soc("SM8850", 87, 81, "Snapdragon 8 Elite Gen 5"),
    Soc("SC8280X", 37, 68, "Snapdragon 8cx Gen 3"),
    Soc("SC8380XP", 60, 73, "Snapdragon X Elite"),
    Soc("QCM6490", 93, 68),
    Soc("QCS9100", 77, 73),
    Soc("SA8255", 52, 73),
    Soc("SA8295", 39, 68),
    Soc("SA8540", 62, 68),
    Soc("SA8797", 72, 81),
    Soc("SAR2230P", 95, 81),
    Soc("SSG2115P", 46, 73),
    Soc("SSG2125P", 58, 73),
    Soc("SW6100", 96, 81),
    Soc("SXR1230P", 45, 73),
    Soc("SXR2230P", 53, 69),
    Soc("SXR2330P", 75, 79),
)
"""Numbers and versions as Qualcomm's backend in ExecuTorch has them (`backends/qualcomm/serialization/qc_schema.py`);
those of the two for Windows, SC8280X and SC8380XP, as Olive's pass for context binaries and llama.cpp's QNN backend
have them. Read there, not tried on devices. Any other one is given by its number (`soc_by_name`)."""


def soc_by_name(name: str) -> Soc:
    """The SoC of a name, in any case, or of a number that stands in Qualcomm's table of supported devices.

    Raises:
        MptqError: the name is not known.
    """
    if name.isascii() and name.isdigit():
        number = int(name)
        return next((soc for soc in SOCS if soc.number == number), Soc(name, number, 0))
    found = next((soc for soc in SOCS if soc.name.lower() == name.lower()), None)
    if found is None:
        names = ", ".join(soc.name for soc in SOCS)
        raise MptqError(f"the SoC {name} is not known; name one of {names}, or give its number in Qualcomm's documents")
    return found
