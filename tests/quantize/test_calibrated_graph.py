"""What quantizers are chosen from: importance is measured once, and follows the images."""

import torch
from tiny_models import calibrated_graph

from mptq_export.quantize.method import BEST, PAPER


def test_importance_is_measured_where_the_method_asks_for_it_and_only_once():
    calibrated = calibrated_graph("vit")
    assert calibrated.importance is None
    assert calibrated.with_importance(PAPER).importance == {}
    measured = calibrated.with_importance(BEST)
    assert measured.importance
    assert measured.with_importance(BEST) is measured
    assert measured.with_importance(PAPER) is measured  # as it was measured for the walk that all others follow


def test_some_images_keep_the_importance_of_their_rows():
    measured = calibrated_graph("vit").with_importance(BEST)
    some = measured.of_images([5, 0, 2])
    assert torch.equal(some.images, measured.images[[5, 0, 2]])
    assert measured.importance is not None
    assert some.importance is not None
    for name, rows in measured.importance.items():
        by_image = rows.reshape(len(measured.images), -1)
        assert torch.equal(some.importance[name], torch.cat([by_image[i] for i in (5, 0, 2)])), name


def test_some_images_without_importance_have_none():
    calibrated = calibrated_graph("vit")
    assert calibrated.of_images(range(3)).importance is None
    assert calibrated.with_importance(PAPER).of_images(range(3)).importance == {}
