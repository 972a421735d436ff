"""Whether labels are numbered as the logits are: the images themselves say so when they are not."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from mptq_export.evaluate.metrics import Labels

_PER_CLASS = 10
_FEWEST = 40
_RIGHT = 0.5


def misnumbered(named: Labels, labels: Labels, classes: int) -> str | None:
    """A sentence for people where another numbering of the classes would make most images right.

    The best one-to-one numbering is that of the assignment problem over the counts of (label, named class). A model
    that is right for at least half of the images under it, and for less than half of these under the given one, knows
    the classes by other numbers. With ten images a class and forty in all, chance does not look like that.

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
    chosen, columns = linear_sum_assignment(counts, maximize=True)
    best = counts[chosen, columns].sum() / len(labels)
    if best < _RIGHT or given > best / 2:
        return None
    moved = next(place for place in range(len(known)) if columns[place] != known[place])
    return (
        f"the labels are not numbered as the logits: {given:.0%} are right, {best:.0%} would be with other numbers "
        f"(logit {columns[moved]} for what is logit {known[moved]} now); give --class-map FILE"
    )
