"""A headless Chromium, driven through its DevTools protocol."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
#: Seconds to wait for something to happen on a busy machine.
PATIENCE = 60


class Browser:
    """One tab.

    Attributes:
        requests: addresses that the page asked for.
        complaints: what the console or the log said, warnings and errors.
    """

    def __init__(self, folder: Path, width: int = 1100, height: int = 1400) -> None:
        assert CHROMIUM is not None
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._count = 0
        self._open = ExitStack()
        try:
            file = folder / "DevToolsActivePort"
            wait(lambda: file.is_file() and len(file.read_text().splitlines()) == 2)
            port, path = file.read_text().splitlines()
            address = f"ws://127.0.0.1:{port}{path}"
            self._socket = self._open.enter_context(connect(address, max_size=2**26, open_timeout=PATIENCE))
            self._session: str | None = None
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(PATIENCE)

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result; what happens meanwhile is noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            found = json.loads(self._socket.recv(timeout=PATIENCE))
            if found.get("id") == self._count:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self._note(found.get("method"), found.get("params"))

    def _note(self, event: str | None, given: Any) -> None:
        match event:
            case "Network.requestWillBeSent" if not given["request"]["url"].startswith("data:"):
                self.requests.append(given["request"]["url"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(given)[:500])
            case "Log.entryAdded" if given["entry"]["level"] in ("warning", "error"):
                self.complaints.append(given["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true, and return it."""
        return wait(lambda: self.evaluate(expression), expression)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Press, move or release the left button; `kind` is `mousePressed`, `mouseMoved` or `mouseReleased`."""
        buttons = 0 if kind == "mouseReleased" else 1
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


def wait(ready: Callable[[], Any], what: str = "the browser") -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := ready()):
        assert time.monotonic() < end, f"waited {PATIENCE} s for: {what}"
        time.sleep(0.05)
    return found
