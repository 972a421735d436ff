"""What each row of a sparse matrix reads: its elements that are not zero, one after the other."""

import torch


def taps(weight: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A matrix as a sum of few matrices with one element a row.

    Args:
        weight: [N, K]; no row is all zeros.

    Returns:
        As many pairs as the fullest row has elements: which column every row reads, int64 [N], and times what, [N].
        A row that reads fewer reads its last column again, times 0.
    """
    held = weight != 0
    counts = held.sum(1)
    columns = torch.argsort((~held).to(torch.int8), dim=1, stable=True)
    found = []
    for position in range(int(counts.max())):
        index = columns.gather(1, counts.sub(1).clamp(max=position)[:, None])[:, 0]
        factor = torch.where(counts > position, weight.gather(1, index[:, None])[:, 0], torch.zeros_like(weight[:, 0]))
        found.append((index, factor))
    return found
