"""Inline SVG of the report's plots, drawn by pygal.

pygal lays out; colours and fonts come from the page's style sheet (`templates/report.css`), so that one picture serves
light, dark and print. What pygal adds for interaction (scripts, styles, tooltips) is taken out.
"""

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pygal
from markupsafe import Markup
from numpy.typing import NDArray
from pygal.style import Style

from mptq_export.recipe.opt_m_levels import level_regions
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.report.evidence import ChannelRanges, ValueHistogram
from mptq_export.report.front import Front
from mptq_export.report.network import block_of

_SVG = "http://www.w3.org/2000/svg"

#: Units of the drawing: a phone shows them at about their own size.
_WIDTH, _HEIGHT = 420, 270

#: Those of the small drawings of weights.
_MINI = (300, 110)

_STYLE = Style(
    font_family="inherit", label_font_size=11, major_label_font_size=11, legend_font_size=12, title_font_size=12
)

#: Bars this near to each other are neighbours: what rounding to a tenth leaves.
_JOINED = 0.15

#: Elements and classes that only serve pygal's scripts.
_INTERACTIVE = ("defs", "desc", "title")
_UNUSED = {"reactive", "tooltip-trigger", "activate-serie", "always_show"}

_DIGITS = re.compile(r"-?\d+\.\d+")

#: Height of the marks of the levels below a histogram, as a share of its own.
_MARKS = 0.08


def front_chart(fronts: Sequence[tuple[str, Front]]) -> Markup:
    """Mean bits against divergence: the steps of each search, the best of them, and the points that became files.

    Args:
        fronts: what the legend calls it, and the search; more than one to compare.
    """
    chart = _chart(pygal.XY, x_title="mean bits of weights and activations", y_title="divergence")
    chart.print_labels = True
    chart.y_labels = _powers([p.divergence for _, front in fronts for p in front.points])
    alone = len(fronts) == 1
    for name, front in fronts:
        files = [{"value": (c.point.mean_bits, _log(c.point.divergence)), "label": c.budget} for c in front.chosen]
        best = [(p.mean_bits, _log(p.divergence)) for p in front.best]
        steps = [(p.mean_bits, _log(p.divergence)) for p in front.steps]
        if alone:
            chart.add("steps", steps, stroke=False, dots_size=1.5)
        chart.add("Pareto front" if alone else name, best, show_dots=False)
        chart.add("files" if alone else None, files, stroke=False, dots_size=5)
    return _svg(chart, "Pareto front: mean bits against divergence", "front" if len(fronts) == 1 else "fronts")


def error_chart(curves: Sequence[tuple[str, Sequence[float | None]]], labels: Sequence[str]) -> Markup:
    """SQNR along the network.

    Args:
        curves: name and decibels at every position; None where a curve has no point.
        labels: what stands at each position.
    """
    chart = _chart(pygal.Line, y_title="SQNR (dB)")
    chart.truncate_label = -1
    chart.x_labels = _spaced([block_of(label) for label in labels])
    for name, decibels in curves:
        chart.add(name, [None if d is None else min(d, 120.0) for d in decibels], dots_size=1.5)
    return _svg(chart, "SQNR after each layer, in network order")


def ranges_chart(ranges: ChannelRanges) -> Markup:
    """Channel ranges before and after SQ-b, as shares of the tensor's largest magnitude."""
    chart = _chart(pygal.Line, y_title="part of the range", height=220)
    chart.show_dots = False
    chart.x_title = f"{ranges.channels} channels, narrowest first"
    chart.range = (-1, 1)
    chart.y_labels = [-1, -0.5, 0, 0.5, 1]
    chart.add("before", ranges.before_high)
    chart.add("after", ranges.after_high)
    chart.add(None, ranges.before_low)
    chart.add(None, ranges.after_low)
    return _svg(chart, "Channel ranges before and after SQ-b", "ranges")


def levels_chart(histogram: ValueHistogram, quant: ActivationQuant) -> Markup:
    """What a quantizer saw, coloured by the region it falls into, with a mark at every level below."""
    regions = level_regions(quant)
    chart = _chart(pygal.Histogram, x_title="value", y_title="values in a bin", height=240)
    width = (histogram.high - histogram.low) / len(histogram.counts)
    heights = [math.log10(1 + count) for count in histogram.counts]
    top = max(heights) or 1.0
    edges = [histogram.low + i * width for i in range(len(heights) + 1)]
    bins = list(zip(heights, edges, edges[1:], strict=False))
    low = min(regions[0].low, histogram.low)
    for i, region in enumerate(regions):
        begins = low if i == 0 else region.low
        inside = [b for b in bins if begins <= (b[1] + b[2]) / 2 < region.high]
        thin = max(regions[-1].high, histogram.high) - low
        marks = [(-_MARKS * top, value - thin / 500, value + thin / 500) for value in region.levels]
        chart.add(f"step {region.step}", inside + marks)
    above = [b for b in bins if (b[1] + b[2]) / 2 >= regions[-1].high]
    if above:
        chart.add("clipped", above)
    chart.range = (-_MARKS * top, top)
    chart.y_labels = [
        {"value": math.log10(1 + 10**power), "label": f"{10**power:,}"}
        for power in range(math.ceil(top))
        if 10**power < 10**top
    ]
    return _svg(chart, "Histogram with the regions and levels of OPT-m", "levels")


def weights_chart(codes: NDArray[np.int8], bits: int, floats: ValueHistogram | None) -> Markup:
    """How often each weight code is used, and a line for the float weights in the steps of their channels.

    Drawn here and not by pygal, as there is one for every layer: no axis but the codes at both ends.

    Args:
        codes: int8 [N, K], all of a layer.
        bits: their width.
        floats: of the float weights, in bins of one width; None where it is not known.
    """
    reach = max(2 ** (bits - 1), int(np.abs(codes.astype(np.int16)).max(initial=0)))
    if floats is not None:  # what was clipped is seen, unless it lies so far off that codes would not be
        reach = max(reach, min(math.ceil(max(-floats.low, floats.high)), 2 * reach))
    counts = np.bincount(codes.astype(np.int64).ravel() + reach, minlength=2 * reach + 1)
    unit, base = _MINI[0] / (2 * reach + 1), _MINI[1] - 14
    top = max(float(counts.max(initial=0)), 1.0)
    line = ""
    if floats is not None:
        width = (floats.high - floats.low) / len(floats.counts)
        heights = [count / width for count in floats.counts]  # weights a step, as the bars are
        top = max(top, *heights)
        centres = [(floats.low + (i + 0.5) * width + reach + 0.5) * unit for i in range(len(heights))]
        points = [
            f"{_short(x)} {_short(base * (1 - y / top))}"
            for x, y in zip(centres, heights, strict=True)
            if 0 <= x <= _MINI[0]
        ]
        line = f'<path class="line color-1" d="M{" ".join(points)}"/>' if points else ""
    bars = "".join(
        f"M{_short(i * unit + 0.1 * unit)} {base}v{_short(-max(base * count / top, 0.4))}h{_short(0.8 * unit)}V{base}"
        for i, count in enumerate(counts.tolist())
        if count
    )
    ends = "".join(
        f'<text x="{x}" y="{_MINI[1] - 2}" text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in ((0, "start", -reach), (_MINI[0] / 2, "middle", 0), (_MINI[0], "end", reach))
    )
    return Markup(
        f'<svg viewBox="0 0 {_MINI[0]} {_MINI[1]}" class="plot weights" role="img" '
        f'aria-label="Histogram of weight codes"><path class="rect color-0" d="{bars}"/>{line}{ends}</svg>'
    )


def _chart(kind: Any, *, x_title: str | None = None, y_title: str | None = None, height: int = _HEIGHT) -> Any:
    return kind(
        width=_WIDTH,
        height=height,
        style=_STYLE,
        css=[],
        js=[],
        x_title=x_title,
        y_title=y_title,
        legend_at_bottom=True,
        legend_box_size=10,
        margin=6,
        spacing=6,
        truncate_legend=-1,
        max_scale=7,
        classes=["plot"],
    )


def _svg(chart: Any, description: str, css_class: str = "") -> Markup:
    """The drawing alone, with a description for those who do not see it."""
    chart.uuid = "plot"  # a random one by default; nothing refers to it
    chart.legend_at_bottom_columns = max(1, sum(options["title"] is not None for _, options in chart.raw_series))
    root = ET.fromstring(chart.render(is_unicode=True, disable_xml_declaration=True))
    for parent in list(root.iter()):
        for child in list(parent):
            classes = child.get("class", "")
            if (
                child.tag.rpartition("}")[2] in _INTERACTIVE
                or "tooltip" in classes.split(" ")[0]
                or classes == "background"
            ):
                parent.remove(child)
                continue
            for name in ("id", "rx", "ry"):
                child.attrib.pop(name, None)
            child.set("class", " ".join(word for word in classes.split() if word not in _UNUSED))
            if not child.get("class"):
                del child.attrib["class"]
            for name in ("d", "x", "y", "cx", "cy", "width", "height", "transform"):
                if name in child.attrib:
                    child.set(name, _DIGITS.sub(lambda found: _short(float(found[0])), child.attrib[name]))
    for bars in [each for each in root.iter() if each.get("class") == "histbars"]:
        _join_bars(bars)
    _without_empty(root)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": f"plot {css_class}".strip(),
        "role": "img",
        "aria-label": description,
    }
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))


def _short(number: float) -> str:
    """A length in the drawing, to a tenth of a unit."""
    return f"{number:.1f}".removesuffix(".0")


def _join_bars(group: ET.Element) -> None:
    """One path in place of a rectangle for every bar: a tenth of the bytes. Neighbours share their edge."""
    path, right, foot = "", -math.inf, -math.inf
    for bar in group.iter(f"{{{_SVG}}}rect"):
        left, top, width, height = (float(bar.get(name, "0")) for name in ("x", "y", "width", "height"))
        if max(abs(left - right), abs(top + height - foot)) > _JOINED:
            path += f"V{_short(foot)}" if path else ""
            foot = top + height
            path += f"M{_short(left)} {_short(foot)}"
        right = left + width
        path += f"V{_short(top)}H{_short(right)}"
    for child in list(group):
        group.remove(child)
    if path:
        ET.SubElement(group, f"{{{_SVG}}}path", {"class": "rect", "d": f"{path}V{_short(foot)}"})


def _without_empty(element: ET.Element) -> None:
    """Take out groups in which nothing is drawn."""
    for child in list(element):
        _without_empty(child)
        if child.tag == f"{{{_SVG}}}g" and not len(child):
            element.remove(child)


def _spaced(blocks: Sequence[str]) -> list[str]:
    """The name of a block where it begins, where there is room for it."""
    gap, shown, last = max(1, len(blocks) // 5), [], -len(blocks)
    for i, block in enumerate(blocks):
        begins = i and block != blocks[i - 1] and i - last >= gap
        last = i if begins else last
        shown.append(block if begins else "")
    return shown


def _log(value: float) -> float:
    return math.log10(max(value, 1e-9))


def _powers(values: Sequence[float]) -> list[dict[str, Any]]:
    """Labels of a logarithmic axis: powers of ten, and 3 times them where they are few."""
    low, high = (math.floor(_log(f(values, default=1e-6))) for f in (min, max))
    factors = (1, 3) if high - low < 3 else (1,)
    ticks = [factor * 10.0**power for power in range(low, high + 2) for factor in factors]
    inside = [t for t in ticks if min(values, default=0) / 3 <= t <= max(values, default=1) * 3]
    return [{"value": math.log10(tick), "label": f"{tick:g}"} for tick in inside]
