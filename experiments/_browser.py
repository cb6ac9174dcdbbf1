"""A browser without a window, driven as a reader would: pages are opened, pointed at, clicked, typed into and seen."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from PIL import Image
from tornado.websocket import WebSocketClientConnection, websocket_connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 60.0


class Browser:
    """A page in chromium, by its own protocol; a context manager.

    Attributes:
        said: what the page wrote to its console, and its errors.
        asked: every address that the page asked for.
    """

    def __init__(self, folder: Path, width: int = 1200, height: int = 1000, *, dark: bool = False) -> None:
        assert PROGRAM is not None
        self.said: list[str] = []
        self.asked: list[str] = []
        self._loop, self._number, self._size = asyncio.new_event_loop(), 0, (width, height)
        profile = folder / "profile"
        line = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        line += ["--remote-debugging-port=0", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        line += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost", "--hide-scrollbars"]
        line += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "about:blank"]
        self._socket: WebSocketClientConnection | None = None
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._socket = self._loop.run_until_complete(_connected(self._port(profile / "DevToolsActivePort")))
        except BaseException:
            self._end()
            raise
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def open(self, address: str, ready: str) -> None:
        """Open a page, and wait until an expression is true."""
        self.call("Page.navigate", url=address)
        self.wait(ready)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, (expression, self.said)
            time.sleep(0.05)

    def move(self, x: float, y: float) -> None:
        """Rest the pointer at a place of the window."""
        self._mouse("mouseMoved", x, y)

    def click(self, x: float, y: float) -> None:
        """Click there."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 20) -> None:
        """Press at one place, go to another one, and let go."""
        self.move(*start)
        self._mouse("mousePressed", *start, button="left", clickCount=1)
        for k in range(1, steps + 1):
            x, y = (a + (b - a) * k / steps for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", x, y, button="left", buttons=1)
        self._mouse("mouseReleased", *end, button="left", clickCount=1)

    def key(self, key: str, *, control: bool = False) -> None:
        """Press a key and let it go."""
        code = 13 if key == "Enter" else ord(key.upper())
        held = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 * control}
        held |= {"text": "\r"} if key == "Enter" else {}
        held |= {"commands": ["selectAll"]} if control and key == "a" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **held)
        self.call("Input.dispatchKeyEvent", type="keyUp", **held)

    def shot(self, file: Path | None = None) -> Image.Image:
        """What is seen of the whole page; kept in a file if one is given."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self._size[0], "height": size["height"], "scale": 1}
        held = base64.b64decode(
            self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        )
        if file is not None:
            file.write_bytes(held)
        with Image.open(io.BytesIO(held)) as image:
            return image.convert("RGB")

    def call(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        """One call of the protocol; what the page says meanwhile is kept."""
        self._number += 1
        number = self._number
        return self._loop.run_until_complete(asyncio.wait_for(self._answer(number, method, parameters), SECONDS))

    async def _answer(self, number: int, method: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._socket is not None
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = await self._socket.read_message()
            assert told is not None, "the browser is gone"
            message = json.loads(told)
            if message.get("id") == number:
                assert "error" not in message, message
                result: Mapping[str, Any] = message["result"]
                return result
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, told: Mapping[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.asked.append(told["url"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.said.append(" ".join(str(part.get("value", part)) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.said.append(told["entry"]["text"])

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _end(self) -> None:
        """End the browser, and let go of its socket."""
        self._process.terminate()
        self._process.wait()
        if self._socket is not None:
            self._loop.run_until_complete(_left(self._socket))
        self._loop.close()

    def _port(self, file: Path) -> int:
        end = time.monotonic() + SECONDS
        while not (file.is_file() and file.read_text().strip()):
            assert time.monotonic() < end, "the browser does not start"
            assert self._process.poll() is None, "the browser has ended"
            time.sleep(0.05)
        return int(file.read_text().split()[0])


async def _connected(port: int) -> WebSocketClientConnection:
    """The socket of the one page of the browser at a port."""
    with urlopen(f"http://localhost:{port}/json") as answer:
        (page,) = [target for target in json.load(answer) if target["type"] == "page"]
    return await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**28)


async def _left(socket: WebSocketClientConnection) -> None:
    socket.close()
    while await socket.read_message() is not None:
        pass
