"""Look at a report in headless Chromium: wide, on a phone and in print, in light and dark.

    python -m tools.report_look REPORT [--pictures FOLDER] [--open N]

Prints what it found as one line of JSON; exit status 0 if every view is as it should be, 1 if not, 2 if it could not
run. `--pictures` writes a PNG of the top of every view, one of the plots of the last open layers, and the print as
PDF; `--open` opens the first N foldings first.
Needs Chromium.

Every view must stay within its width, its texts must stand out from what is behind them (WCAG AA: 4.5 to 1), and the
page must report nothing to the console and load nothing.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

from tools.crosscheck.browser import Browser, find_browser

#: (name, width, height, dark) of every view on a screen.
VIEWS = (
    ("wide-light", 1100, 1400, False),
    ("wide-dark", 1100, 1400, True),
    ("phone-light", 390, 844, False),
    ("phone-dark", 390, 844, True),
)
_CONTRAST = 4.5
_SECONDS = 30.0

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


def look(browser: Browser, report: Path, pictures: Path | None, unfold: int) -> dict[str, Any]:
    """Open the report and measure every view."""
    for domain in ("Page", "Network", "Log", "Runtime"):
        browser.send(f"{domain}.enable")
    browser.open(report.resolve().as_uri())
    browser.wait_for("document.readyState === 'complete' && !!document.querySelector('footer')", _SECONDS)
    if unfold:
        browser.value(f"[...document.querySelectorAll('details')].slice(0, {unfold}).forEach((d) => (d.open = true))")
    views: dict[str, Any] = {}
    for name, width, height, dark in VIEWS:
        browser.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.send("Emulation.setEmulatedMedia", media="screen", features=[theme])
        views[name] = browser.value(_MEASURE)
        if pictures is not None:
            (pictures / f"{name}.png").write_bytes(browser.screenshot())
        if pictures is not None and name == VIEWS[0][0]:
            save_plots(browser, pictures / "plots.png")
    browser.send("Emulation.setEmulatedMedia", media="print", features=[theme])
    browser.send("Emulation.setDeviceMetricsOverride", width=794, height=1123, deviceScaleFactor=1, mobile=False)
    views["print"] = browser.value(_MEASURE)
    printed = base64.b64decode(
        browser.send("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.7)["data"]
    )
    if pictures is not None:
        (pictures / "print.pdf").write_bytes(printed)
    return {
        "views": views,
        "pdf_bytes": len(printed),
        "requests": [p["request"]["url"] for m, p in browser.events if m == "Network.requestWillBeSent"][1:],
        "console": [
            json.dumps(p)[:300]
            for m, p in browser.events
            if m in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        ],
        "plots": browser.value("document.querySelectorAll('svg.plot').length"),
    }


def save_plots(browser: Browser, path: Path) -> None:
    """The plots of the last folding that is open and has some."""
    place = browser.value(
        "(() => { const all = [...document.querySelectorAll('details[open] .plots')]; if (!all.length) return null; "
        "const box = all.at(-1).getBoundingClientRect(); "
        "return { x: box.x, y: box.y + scrollY, width: box.width, height: box.height, scale: 1 }; })()"
    )
    if place is not None:
        shot = browser.send("Page.captureScreenshot", format="png", clip=place, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


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
    program = find_browser()
    if program is None or not args.report.is_file():
        print(f"error: there is no {'Chromium' if program is None else args.report}", file=sys.stderr)
        return 2
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    with Browser(program, width=1100, height=1400) as browser:
        found = look(browser, args.report, args.pictures, args.unfold)
    print(json.dumps(found))
    return 0 if sound(found) else 1


if __name__ == "__main__":
    sys.exit(main())
