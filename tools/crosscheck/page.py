"""Open a verification kit's page in headless Chromium, wait for its verdict, and take a picture.

    python -m tools.crosscheck.page KIT [--screenshot PNG] [--alter TENSOR] [--ort FOLDER]

Serves the kit and onnxruntime-web on a free local port. `--alter` changes the first value of one initializer of the
served model by one, to see the page fail; the kit itself stays as it is. Prints what the page shows as one line of
JSON; exit status 0 if it passes, 1 if it fails, 2 if it could not run. Needs Playwright and a Chromium
(`tools/browser.py`), and onnx for `--alter`.
"""

import argparse
import json
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.browser import NoBrowserError, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ORT = Path(__file__).resolve().parent / "web" / "node_modules" / "onnxruntime-web" / "dist"
_STATUS = {"pass": 0, "fail": 1}
_MILLISECONDS = 120_000


def altered(model: bytes, tensor: str) -> bytes:
    """The model with the first value of one integer initializer moved far, to an end of [-64, 63]."""
    import onnx
    from onnx import numpy_helper

    document = onnx.load_from_string(model)
    (constant,) = (entry for entry in document.graph.initializer if entry.name == tensor)
    codes = numpy_helper.to_array(constant).copy()
    codes.flat[0] = -64 if codes.flat[0] >= 0 else 63
    constant.CopyFrom(numpy_helper.from_array(codes, tensor))
    changed: bytes = document.SerializeToString()
    return changed


class KitHandler(SimpleHTTPRequestHandler):
    """Serves a kit, onnxruntime-web under `/ort/`, and another model in the place of the kit's own."""

    def __init__(self, *args: Any, ort: Path, model: bytes | None, **kwargs: Any) -> None:
        self._ort, self._model = ort, model
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        """The file of an address."""
        name = path.partition("?")[0]
        return str(self._ort / Path(name).name) if name.startswith("/ort/") else super().translate_path(path)

    def do_GET(self) -> None:
        """Answer with a file, or with the altered model."""
        if self._model is None or self.path != "/model.onnx":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self._model)))
        self.end_headers()
        self.wfile.write(self._model)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def visit(browser: "Browser", address: str, screenshot: Path | None) -> dict[str, str]:
    """What the page shows at the end."""
    page = browser.new_page(viewport={"width": 900, "height": 620})
    page.goto(address)
    verdict = page.locator("#verdict[class]:not([class=''])")
    verdict.wait_for(state="attached", timeout=_MILLISECONDS)
    if screenshot is not None:
        page.screenshot(path=screenshot)
    shown = {"status": verdict.get_attribute("class") or ""}
    for name in ("verdict", "first", "latency", "runtime", "browser", "log"):
        shown[name] = page.locator(f"#{name}").text_content() or ""
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--screenshot", type=Path, metavar="PNG")
    parser.add_argument("--alter", metavar="TENSOR", help="for instance blocks.1.mlp.fc2.weight")
    parser.add_argument("--ort", type=Path, default=_ORT, metavar="FOLDER", help="onnxruntime-web's dist folder")
    args = parser.parse_args()
    if not args.ort.is_dir():
        print(f"error: there is no onnxruntime-web in {args.ort}", file=sys.stderr)
        return 2
    model = altered((args.kit / "model.onnx").read_bytes(), args.alter) if args.alter else None
    handler = partial(KitHandler, directory=str(args.kit), ort=args.ort, model=model)
    try:
        with open_browser() as browser, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}/index.html?ort=ort/ort.wasm.min.mjs"
            shown = visit(browser, address, args.screenshot)
            server.shutdown()
    except NoBrowserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(shown))
    return _STATUS.get(shown["status"], 2) if not shown["verdict"].startswith("ERROR") else 2


if __name__ == "__main__":
    sys.exit(main())
