"""What a search is of: told by digests, so that no other model is given its widths."""

import hashlib
from collections.abc import Sequence

from mptq_export.allocate.search_terms import Origin
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.load.weights_digest import weights_digest
from mptq_export.support.errors import MptqError
from mptq_export.support.version import __version__


def origin_of(parts: Sequence[Calibrated]) -> Origin:
    """The origin of a search.

    Args:
        parts: the calibrated model; of a detector of two stages the first one and its heads, whose inputs the first
            one's decide.
    """
    weights = [weights_digest(part.loaded.model.state_dict()) for part in parts]
    inputs = parts[0].images.cpu().numpy()
    return Origin(
        model=parts[0].loaded.asked.name,
        weights_sha256=weights[0] if len(weights) == 1 else hashlib.sha256(" ".join(weights).encode()).hexdigest(),
        inputs=parts[0].source.description,
        inputs_sha256=hashlib.sha256(repr(inputs.shape).encode() + inputs.tobytes()).hexdigest(),
        version=__version__,
    )


def check_origin(stored: Origin, parts: Sequence[Calibrated]) -> None:
    """Refuse a search of something else.

    Args:
        stored: of the search.
        parts: as for `origin_of`.

    Raises:
        MptqError: the weights, the inputs or the version of this program are others.
    """
    own = origin_of(parts)
    if own.version != stored.version:
        raise MptqError(
            f"the search was made by version {stored.version} and this is {own.version}, which may choose otherwise; "
            "search again"
        )
    if own.weights_sha256 != stored.weights_sha256:
        raise MptqError(
            f"the search is of another checkpoint: of {stored.model}, whose weights are not those of {own.model}; name "
            "the model that was searched, or search this one"
        )
    if own.inputs_sha256 != stored.inputs_sha256:
        raise MptqError(
            f"the search was made on other calibration inputs: on {stored.inputs}, and these are {own.inputs}, or read "
            "in another way; name with --calib what it was made on, or search again"
        )
