"""All tables, in the order in which they are measured."""

from tools.figures import (
    accuracy,
    embeddings,
    exactness,
    floor,
    large,
    latency,
    low_bits,
    mixed,
    search_gpus,
    without_images,
)
from tools.figures.table import Table

#: Searches first: they take longest. What must run alone comes last; `floor` reads the files of `latency`.
TABLES: tuple[Table, ...] = (
    mixed.TABLE,
    low_bits.TABLE,
    low_bits.TEN_CLASSES,
    large.TABLE,
    accuracy.TABLE,
    without_images.TABLE,
    embeddings.TABLE,
    exactness.TABLE,
    search_gpus.TABLE,
    latency.TABLE,
    floor.TABLE,
)
