"""Whether labels are numbered as the logits are: the images themselves say so when they are not."""

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.metrics import Labels

_PER_CLASS = 10
_FEWEST = 40
_RIGHT = 0.5


def misnumbered(named: Labels, labels: Labels, classes: int) -> str | None:
    """A sentence for people where another numbering of the classes would make most images right.

    That numbering is one to one, the most frequent pairs of (label, named class) first. A model that is right for at
    least half of the images under it, and for less than half of these under the given one, knows the classes by other
    numbers. With ten images a class and forty in all, chance does not look like that.

    Args:
        named: (images,) the class that the model names.
        labels: (images,) class indices.
        classes: how many the model has.
    """
    known, rows = np.unique(labels, return_inverse=True)
    if len(labels) < max(_FEWEST, _PER_CLASS * len(known)) or len(known) < 2:
        return None
    counts = np.zeros((len(known), classes), np.int64)
    np.add.at(counts, (rows, named), 1)
    given = counts[np.arange(len(known)), known].sum() / len(labels)
    columns = _most_frequent_first(counts)
    best = sum(counts[place, column] for place, column in columns.items()) / len(labels)
    if best < _RIGHT or given > best / 2:
        return None
    moved = min(place for place, column in columns.items() if column != known[place])
    return (
        f"the labels are not numbered as the logits: {given:.0%} are right, {best:.0%} would be with other numbers "
        f"(logit {columns[moved]} for what is logit {known[moved]} now); give --class-map FILE"
    )


def _most_frequent_first(counts: NDArray[np.int64]) -> dict[int, int]:
    """A column for each row, none twice, the largest counts first; rows that are left with nothing have none.

    Its sum is at least half of the largest possible one, and is that one where every label has a class of its own that
    is named most.

    Args:
        counts: (labels, classes).
    """
    chosen: dict[int, int] = {}
    taken = set()
    for place in np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]:
        row, column = divmod(int(place), counts.shape[1])
        if row not in chosen and column not in taken:
            chosen[row] = column
            taken.add(column)
    return chosen
