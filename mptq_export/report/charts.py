"""Inline SVG of the report's plots, drawn by pygal.

pygal lays out; colours and fonts come from the page's style sheet (`templates/report.css`), so that one picture serves
light, dark and print. What pygal adds for interaction (scripts, styles, tooltips) is taken out.
"""

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup
from pygal.style import Style

from mptq_export.recipe.opt_m_levels import level_regions
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.report.evidence import ChannelRanges, ValueHistogram
from mptq_export.report.front import Front
from mptq_export.report.network import block_of

_SVG = "http://www.w3.org/2000/svg"

#: Units of the drawing: a phone shows them at about their own size.
_WIDTH, _HEIGHT = 420, 270

_STYLE = Style(
    font_family="inherit", label_font_size=11, major_label_font_size=11, legend_font_size=12, title_font_size=12
)

#: Elements and classes that only serve pygal's scripts.
_INTERACTIVE = ("defs", "desc", "title")
_UNUSED = {"reactive", "tooltip-trigger", "activate-serie", "always_show"}

_DIGITS = re.compile(r"-?\d+\.\d{2,}")

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
            if child.tag.rpartition("}")[2] in _INTERACTIVE or "tooltip" in classes.split(" ")[0]:
                parent.remove(child)
                continue
            child.attrib.pop("id", None)
            child.set("class", " ".join(word for word in classes.split() if word not in _UNUSED))
            for name in ("d", "x", "y", "cx", "cy", "width", "height", "transform"):
                if name in child.attrib:
                    child.set(name, _DIGITS.sub(lambda found: f"{float(found[0]):.4g}", child.attrib[name]))
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": f"plot {css_class}".strip(),
        "role": "img",
        "aria-label": description,
    }
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))


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
