"""A reader in a real browser: sliders are dragged, the pointer rests, schedules are typed; and Ctrl-C ends it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments._browser import PROGRAM, Browser

pytest.importorskip("bokeh")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium or google-chrome on the PATH"),
]
ROOT = Path(__file__).parents[3]
MODEL = "Bokeh.documents[0].get_model_by_name"
READY = (
    f"window.Bokeh?.documents.length && {MODEL}('status').text.includes('distance') && {MODEL}('residual').inner_width"
)

# What bokeh draws in HTML, in the roots of its elements.
SEEN = """(() => {
  const all = n => [...n.querySelectorAll('*')].flatMap(e => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
  return all(document).filter(e => e.shadowRoot).map(e => e.shadowRoot.textContent) })()"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the command serves a problem; it is interrupted at the end."""
    line = [sys.executable, "-W", "ignore", "-m", "flowops.cli", "explore", "--problem", "mixture", "--n", "200"]
    with subprocess.Popen(
        [*line, "--port", "0", "--no-browser"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            yield told.partition(": ")[2].partition(" ")[0]
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
            assert process.returncode == 130
            assert said == "flowops: interrupted.\n"
        finally:
            process.kill()


def middle(browser: Browser, name: str, part: str = "") -> tuple[float, float]:
    """The middle of what a control or figure takes on the page; of a figure, of its axes."""
    inner = f"(host.shadowRoot.querySelector('{part}') ?? host)" if part else "host"
    x, y, w, h = browser.evaluate(
        f"(() => {{ const view = Bokeh.index.find_one({MODEL}('{name}')), host = view.el; "
        f"const box = {inner}.getBoundingClientRect(); return [box.x, box.y, box.width, box.height] }})()"
    )
    return x + w / 2, y + h / 2


def test_a_reader_explores(address: str, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.open(address, READY)
        assert "euler, 1 step" in browser.evaluate(f"{MODEL}('status').text")

        x, y = middle(browser, "s", ".noUi-handle")  # a slider is dragged
        browser.drag((x, y), (x + 60, y))
        browser.wait(f"{MODEL}('s').value > 0.1 && {MODEL}('status').text.includes('from s = ' + {MODEL}('s').value)")

        browser.move(*middle(browser, "particles"))  # a particle is pointed at
        browser.wait(f"{MODEL}('status').text.includes('Under the pointer: particle')")

        x, y = middle(browser, "residual")  # a cell is read, and taken
        browser.move(x, y)
        browser.wait(f"({SEEN}).some(text => /residual: *[0-9.]+/.test(text))")
        before = browser.evaluate(f"{MODEL}('t').value")
        browser.click(x, y)
        browser.wait(f"{MODEL}('t').value != {before}")

        browser.click(*middle(browser, "alpha", "input"))  # a schedule is typed, first a wrong one
        browser.call("Input.insertText", text="+import os")
        browser.key("Enter")
        browser.wait(f"{MODEL}('notes').text.includes('must be')")
        for name, formula in (("alpha", "cos(pi*t/2)"), ("beta", "sin(pi*t/2)")):
            browser.click(*middle(browser, name, "input"))
            browser.key("a", control=True)
            browser.call("Input.insertText", text=formula)
            browser.key("Enter")
        browser.wait(f"{MODEL}('beta').value.startsWith('sin') && {MODEL}('notes').text == ''")

        assert browser.said == []
        assert browser.asked
        assert all("localhost" in asked or asked.startswith(("data:", "blob:")) for asked in browser.asked)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_it_is_light_or_dark_and_fits_a_phone(address: str, tmp_path: Path, width: int, dark: bool) -> None:
    with Browser(tmp_path, width, dark=dark) as browser:
        browser.open(address, READY)
        image = browser.shot()
        assert image.getpixel((2, 2)) == ((20, 23, 27) if dark else (255, 255, 255))
        assert len(image.getcolors(maxcolors=10**6) or ()) > 100  # figures in colours
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        if width < 500:
            x, y = middle(browser, "particles")
            assert middle(browser, "residual")[1] > y + 200  # one below the other
        assert browser.said == []
