"""Where a classifier fares worst on the user's images: class by class, and image by image."""

from dataclasses import dataclass

from mptq_export.report.accuracy import EvaluatedOutput, StoredClass, StoredWorst
from mptq_export.report.export_files import Export

#: Classes that are shown: those with the smallest share of right answers.
CLASSES = 20


@dataclass(frozen=True)
class Worst:
    """One output of a file.

    Attributes:
        output: its name; empty where the file is a classifier and nothing else.
        classes: the worst ones first, at most `CLASSES`.
        of_classes: how many there are.
        images: the worst one first.
        measure: what their distance is.
    """

    output: str
    classes: tuple[StoredClass, ...]
    of_classes: int
    images: tuple[StoredWorst, ...]
    measure: str


def worst_of(export: Export) -> list[Worst]:
    """Of every output of which that was measured."""
    if export.accuracy is None:
        return []
    named = bool(export.accuracy.outputs)
    return [_worst(each, each.output if named else "") for each in export.accuracy.each if each.by_class or each.worst]


def _worst(found: EvaluatedOutput, name: str) -> Worst:
    ordered = sorted(found.by_class, key=lambda own: (own.right / own.images, own.label))
    measure = "cross-entropy" if found.agreement is None else "KL"
    return Worst(name, tuple(ordered[:CLASSES]), len(ordered), found.worst, measure)
