"""Drives a headless Chromium through its debugging pipe: no driver program, no package.

Chromium reads commands on file descriptor 3 and answers on 4, each one JSON text with a zero byte behind it.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 20


def find_browser() -> str | None:
    """Path of a Chromium or Chrome, if there is one."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


class Browser:
    """One page of a headless browser, as a context manager.

    Attributes:
        events: what the page reported, (method, parameters), of the domains that were enabled with `send`.
    """

    def __init__(self, program: str, *, width: int, height: int) -> None:
        """Start the browser; no other thread may run yet.

        Args:
            program: what `find_browser` gave.
            width: of the window, in pixels.
            height: of the window, in pixels.
        """
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def connect() -> None:
            # Both pipes leave 3 and 4 first, so that neither dup2 closes the other.
            ends = os.dup(to_browser), os.dup(from_browser)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [program, *options, f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}"],
            preexec_fn=connect,  # noqa: PLW1509 - callers start no thread before this
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._sent = 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Asked to close, it takes its temporary files along.
        os.write(self._out, json.dumps({"id": self._sent + 1, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", session=True, url=url)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON."""
        result = self._call("Runtime.evaluate", session=True, expression=expression, returnByValue=True)
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float) -> None:
        """Wait until a JavaScript expression is true.

        Raises:
            TimeoutError: it is not, after so many seconds.
        """
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} is not true after {seconds} s")
            time.sleep(_POLL_SECONDS)

    def screenshot(self) -> bytes:
        """The window as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", session=True, format="png")["data"])

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send the page a command of the DevTools protocol, such as ``Network.enable``, and return its result."""
        return self._call(method, session=True, **parameters)

    def _call(self, method: str, *, session: bool = False, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if "method" in answer:
                self.events.append((answer["method"], answer.get("params", {})))
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> bytes:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            if not part:
                raise RuntimeError("the browser ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return message
