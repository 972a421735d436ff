"""Look at a report in headless Chromium: wide, on a phone and in print, in light and dark.

    python -m tools.report_look REPORT [--pictures FOLDER] [--open N]

Prints what it found as one line of JSON; exit status 0 if every view is as it should be, 1 if not, 2 if it could not
run. `--pictures` writes a PNG of the top of every view, of the plots and weights of the last open layers, of the list
of layers and of the worst images, and the print as PDF; `--open` opens the first N foldings first.
Needs Playwright and a Chromium (`tools.browser`).

Every view must stay within its width, its texts must stand out from what is behind them (WCAG AA: 4.5 to 1), and the
page must report nothing to the console and load nothing.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tools.browser import NoBrowserError, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Theme = Literal["light", "dark"]

#: (name, width, height, theme) of every view on a screen.
VIEWS: tuple[tuple[str, int, int, Theme], ...] = (
    ("wide-light", 1100, 1400, "light"),
    ("wide-dark", 1100, 1400, "dark"),
    ("phone-light", 390, 844, "light"),
    ("phone-dark", 390, 844, "dark"),
)
#: Parts of the page that have pictures of their own.
PARTS = {
    "plots": "details[open] > .plots",
    "weights": "details[open] > .minis",
    "layers": ".list",
    "worst": ".images",
}
#: A4 in pixels of CSS, and in inches.
PAPER, INCHES = (794, 1123), ("8.27in", "11.7in")
_PHONE = 500
"""Narrower views are those of phones."""
_CONTRAST = 4.5

# How far the page's content reaches, and every text whose contrast is too low, in the view as it is.
_MEASURE = """
(() => {
  const channels = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = channels(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const front = light(channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color));
    const back = light(channels(behind(element).join(" ")));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < LEAST) faint.push(`${node.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return { width: innerWidth, reaches: document.documentElement.scrollWidth, faint: faint.slice(0, 5) };
})()
""".replace("LEAST", str(_CONTRAST))


def look(browser: "Browser", report: Path, pictures: Path | None, unfold: int) -> dict[str, Any]:
    """Open the report in every view and measure it."""
    found: dict[str, Any] = {"views": {}, "requests": [], "console": []}
    for name, width, height, theme in VIEWS:
        with opened(browser, report, (width, height), theme, unfold, found) as page:
            found["views"][name] = page.evaluate(_MEASURE)
            found["plots"] = page.locator("svg.plot").count()
            if pictures is not None:
                page.screenshot(path=pictures / f"{name}.png")
            if pictures is not None and name == VIEWS[0][0]:
                save_parts(page, pictures)
    with opened(browser, report, PAPER, "light", unfold, found) as page:
        page.emulate_media(media="print")
        found["views"]["print"] = page.evaluate(_MEASURE)
        printed = page.pdf(width=INCHES[0], height=INCHES[1])
    if pictures is not None:
        (pictures / "print.pdf").write_bytes(printed)
    return {**found, "pdf_bytes": len(printed)}


@contextmanager
def opened(
    browser: "Browser", report: Path, size: tuple[int, int], theme: Theme, unfold: int, found: dict[str, Any]
) -> Iterator["Page"]:
    """The report in a window of its own; what it asks for and says goes into `found`."""
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=theme, is_mobile=width < _PHONE, device_scale_factor=1
    )
    address = report.resolve().as_uri()
    page.on("request", lambda request: found["requests"].append(request.url) if request.url != address else None)
    page.on("console", lambda message: found["console"].append(message.text))
    page.on("pageerror", lambda error: found["console"].append(str(error)))
    page.goto(address)
    page.locator("footer").wait_for(state="attached")
    page.evaluate(f"[...document.querySelectorAll('details')].slice(0, {unfold}).forEach((d) => (d.open = true))")
    try:
        yield page
    finally:
        page.close()


def save_parts(page: "Page", folder: Path) -> None:
    """Plots and weights of the last folding that is open and has some, the list of layers, and the worst images."""
    for name, selector in PARTS.items():
        found = page.locator(selector)
        if found.count():
            found.last.screenshot(path=folder / f"{name}.png")


def sound(found: dict[str, Any]) -> bool:
    """Whether everything is as it should be."""
    fits = all(v["reaches"] <= v["width"] and not v["faint"] for v in found["views"].values())
    loads = [url for url in found["requests"] if not url.startswith("data:")]
    return fits and not loads and not found["console"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--open", type=int, default=0, metavar="N", dest="unfold")
    args = parser.parse_args()
    if not args.report.is_file():
        print(f"error: there is no {args.report}", file=sys.stderr)
        return 2
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    try:
        with open_browser() as browser:
            found = look(browser, args.report, args.pictures, args.unfold)
    except NoBrowserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0 if sound(found) else 1


if __name__ == "__main__":
    sys.exit(main())
