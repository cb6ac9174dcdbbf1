"""A browser opens a report from disk: light, dark, on a phone and on paper."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from flowops.checks import Request
from flowops.evaluation.report import plan_of_objects

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("a folder") / "report.html"
    request = Request(flow_map="tests.checks.objects:euler", field="tests.checks.objects:field", n=6)
    file.write_text(plan_of_objects(request).carried_out().html(), encoding="utf-8")
    return file


def browse(page: Path, *words: str) -> str:
    assert BROWSER is not None
    line = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    line += [
        f"--user-data-dir={page.parent / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
    ]
    done = subprocess.run([*line, *words, f"file://{quote(str(page))}"], capture_output=True, text=True, timeout=120)
    complaints = [told for told in done.stderr.splitlines() if "CONSOLE" in told]
    assert complaints == []
    return done.stdout


def shot(page: Path, width: int, *words: str) -> Image.Image:
    file = page.with_name("shot.png")
    browse(page, f"--window-size={width},2400", f"--screenshot={file}", *words)
    with Image.open(file) as image:
        return image.convert("RGB")


def test_it_is_light_or_dark_as_the_reader_wants_it(page: Path) -> None:
    light, dark = (shot(page, 1200, f"--blink-settings=preferredColorScheme={k}") for k in (1, 0))
    assert light.getpixel((2, 2)) == (255, 255, 255)
    assert dark.getpixel((2, 2)) == (20, 23, 27)
    assert len(light.getcolors(maxcolors=10**6) or ()) > 100  # figures in colours


def test_nothing_is_wider_than_a_phone(page: Path) -> None:
    """A script of the test measures the page in frames of several widths; the page itself has none."""
    frames = "".join(f'<iframe src="report.html" style="width:{w}px;height:900px"></iframe>' for w in (360, 800))
    script = """<pre id=told></pre><script>onload = () => { told.textContent = [...document.querySelectorAll('iframe')]
      .map(f => f.contentDocument.documentElement.scrollWidth + '/' + f.clientWidth).join(' ') }</script>"""
    outer = page.with_name("frames.html")
    outer.write_text(frames + script)
    told = (
        browse(outer, "--allow-file-access-from-files", "--dump-dom").partition('<pre id="told">')[2].partition("<")[0]
    )
    sizes = [tuple(map(int, pair.split("/"))) for pair in told.split()]
    assert sizes == [(360, 360), (800, 800)]


def test_it_prints(page: Path) -> None:
    file = page.with_name("report.pdf")
    browse(page, f"--print-to-pdf={file}")
    held = file.read_bytes()
    assert held.startswith(b"%PDF")
    assert 2 <= held.count(b"/Type /Page\n") <= 12
