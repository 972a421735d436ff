"""The figure that says how close a file is to its float model, and how well it does what it is for."""

from dataclasses import replace

from mptq_export.evaluate.metrics import share_text, share_within
from mptq_export.report.accuracy import EvaluatedOutput, Evaluation, Shares, StoredIntersection, StoredPrecision
from mptq_export.report.evidence import Agreement, OutputCloseness
from mptq_export.report.export_files import Export
from mptq_export.report.figure import UNKNOWN, Figure


def closeness_figure(export: Export) -> Figure:
    """What `mptq-eval` found on the user's images, else what the export found on a few.

    The first output gives the figure, the others stand in its note.
    """
    found = [] if export.accuracy is None else _evaluated(export.accuracy)
    evidence = export.evidence
    if not found and evidence is not None:
        found = [] if evidence.agreement is None else [_agreement(evidence.agreement)]
        found += [_measured(each) for each in evidence.outputs]
    if not found:
        title = "Agreement" if export.recipe.settings.gives_logits else "Cosine"
        return Figure(title, UNKNOWN, "mptq-eval measures it beside the float model")
    first, *others = found
    more = [f"{other.title.lower()} {other.value}: {other.note}" for other in others]
    return Figure(first.title, first.value, "; ".join([first.note, *more]))


def _evaluated(accuracy: Evaluation) -> list[Figure]:
    """A figure for every output of an evaluation."""
    where = "" if accuracy.ran_in is None else f" on the {accuracy.ran_in.device} ({accuracy.ran_in.runtime})"
    images = f"{accuracy.images:,} images{where}"
    found = _of_task(accuracy, images)
    for each in accuracy.each:
        figure = _of_output(each, images, accuracy.images)
        if figure is not None:
            named = f"{each.output}, {figure.note}" if accuracy.outputs else figure.note
            found.append(replace(figure, note=named))
    if found and accuracy.warnings:
        told = "; ".join(f"mptq-eval warned: {warning}" for warning in accuracy.warnings)
        found[0] = replace(found[0], note=f"{found[0].note}; {told}")
    return found


def _of_task(accuracy: Evaluation, images: str) -> list[Figure]:
    """Average precision, or mean intersection over union, in points of 100."""
    found = [
        _points(
            f"{each.kind.capitalize()} AP",
            each.quantised.ap,
            None if each.floating is None else each.floating.ap,
            each,
            images,
        )
        for each in accuracy.precision
        if each.quantised.ap is not None
    ]
    iou, again = accuracy.iou, accuracy.found_again
    if iou is not None:
        beside = None if iou.floating is None else iou.floating.mean_iou
        found.append(_points("Mean IoU", iou.quantised.mean_iou, beside, iou, images))
    if accuracy.same_class is not None:
        found.append(Figure("Pixels of one class", f"{accuracy.same_class:.2%}", f"beside the float model's; {images}"))
    if again is not None and again.of_float.at_50 is not None:
        note = f"of the float model's {again.of_float.detections:,} sure ones, at IoU 0.5"
        found.append(Figure("Detections found again", f"{again.of_float.at_50:.2%}", f"{note}; {images}"))
    return found


def _points(
    title: str, value: float | None, beside: float | None, found: StoredPrecision | StoredIntersection, images: str
) -> Figure:
    notes = [images]
    if beside is not None and found.difference is not None:
        within = ""
        if found.difference_interval is not None:
            low, high = (100 * bound for bound in found.difference_interval)
            within = f", 95%: {low:+.2f} to {high:+.2f}"
        notes.insert(0, f"float {100 * beside:.2f} ({100 * found.difference:+.2f}{within})")
    return Figure(title, f"{100 * (value or 0.0):.2f}", "; ".join(notes))


def _of_output(found: EvaluatedOutput, images: str, count: int) -> Figure | None:
    """What one output is judged by; None where there was nothing to judge it by.

    Args:
        found: what was measured.
        images: on what, for people.
        count: how many they are.
    """

    def share(value: float) -> str:
        return share_text(value, count)

    def known(value: float) -> str:
        return f"{share(value)} ({share_within(value, count)})"

    notes = [images]
    quantised, floating = found.quantised or Shares(), found.floating or Shares()
    if found.agreement is not None and found.mean_kl is not None:
        same = known(found.agreement) if quantised.top1 is not None else share_within(found.agreement, count)
        notes.append(f"agreement {same}, mean KL {found.mean_kl:.5f} nats")
    if quantised.top1 is not None:
        beside = [] if floating.top1 is None else [f"float {share(floating.top1)}"]
        return Figure("Top-1", share(quantised.top1), "; ".join([share_within(quantised.top1, count), *beside, *notes]))
    if found.agreement is not None:
        return Figure("Agreement", share(found.agreement), "; ".join(notes))
    if quantised.nearest is not None:
        beside = [] if floating.nearest is None else [f"float {share(floating.nearest)}"]
        if found.beside_float is None:
            within = share_within(quantised.nearest, count)
            return Figure("1-NN accuracy", share(quantised.nearest), "; ".join([within, *beside, *notes]))
        notes.append(f"1-NN accuracy {known(quantised.nearest)}" + "".join(f" ({text})" for text in beside))
    if found.beside_float is not None:
        near = found.beside_float.neighbours
        if near is not None:
            ten = "" if near.ten is None else f", of the ten nearest {near.ten:.2%}"
            low, high = near.nearest_interval
            notes.append(f"nearest neighbour kept {share(near.nearest)} (95%: {low:.1%} to {high:.1%}){ten}")
        return Figure("Cosine", f"{found.beside_float.cosine:.5f}", "; ".join(notes))
    if found.cosine is None:
        return None
    notes += [] if found.sqnr_db is None else [f"SQNR {found.sqnr_db:.1f} dB"]
    return Figure("Cosine", f"{found.cosine:.5f}", "; ".join(notes))


def _agreement(agreement: Agreement) -> Figure:
    note = (
        f"images get the float model's class (95%: {agreement.low:.1%} to {agreement.high:.1%}); mean KL "
        f"{agreement.mean_kl:.5f} nats ({agreement.kl_low:.5f} to {agreement.kl_high:.5f}). {_held_back(agreement)}"
    )
    return Figure("Agreement", share_text(agreement.same / agreement.images, agreement.images), note)


def _measured(found: OutputCloseness) -> Figure:
    first = f"{found.output} beside the float model's"
    first += "" if found.lowest_cosine is None else f", at least {found.lowest_cosine:.5f}"
    first += "" if found.sqnr_db is None else f", SQNR {found.sqnr_db:.1f} dB"
    notes = [first]
    if found.same_nearest is not None:
        notes.append(
            f"{found.same_nearest} of {found.images} images keep their nearest neighbour (95%: "
            f"{found.same_nearest_low:.1%} to {found.same_nearest_high:.1%})"
        )
    if found.shared_ten is not None:
        notes.append(f"{found.shared_ten:.1%} of the ten nearest stay")
    return Figure("Cosine", f"{found.cosine:.5f}", f"{'; '.join(notes)}. {_held_back(found)}")


def _held_back(compared: Agreement | OutputCloseness) -> str:
    """Which images it was measured on."""
    seen = compared.calibrated
    if not seen:
        return f"{compared.source}, held back: the quantizers were not fitted to them"
    which = "these images" if seen >= compared.images else f"{seen} of them, the others were held back"
    return f"{compared.source}. The quantizers were fitted to {which}: it is no accuracy"
