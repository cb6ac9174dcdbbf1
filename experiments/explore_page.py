r"""The picture of the page of `flowops explore` in the documentation, taken by a browser without a window.

flowops train gaussians --steps 2500 --network mlp --network.options width=128 octaves=4 --out runs/modes
python -m experiments.explore_page runs/modes --out docs/explore.png
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments._browser import PROGRAM, Browser

MODEL = "Bokeh.documents[0].get_model_by_name"
READY = f"window.Bokeh?.documents.length && {MODEL}('status').text.includes('distance')"
POINTED = (380, 560)  # a place among the particles, in pixels


def picture(words: list[str], out: Path) -> None:
    """Serve what the words name, and keep what a reader sees who points at a particle.

    Raises:
        SystemExit: without a browser, and if nothing is served.
    """
    if PROGRAM is None:
        raise SystemExit("chromium or google-chrome must be on the PATH, and neither is; install one.")
    line = [sys.executable, "-m", "flowops.cli", "explore", *words, "--port", "0", "--no-browser"]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            where = server.stdout.readline().rpartition(": ")[2].partition(" ")[0]
            if not where:
                raise SystemExit("Nothing is served; see above.")
            with Browser(Path(folder), 1200, 860) as browser:
                browser.open(where, READY)
                browser.evaluate(f"{MODEL}('s').value = 0.3, {MODEL}('steps').value = 2, 0")
                browser.wait(f"{MODEL}('status').text.includes('2 steps</b> from s = 0.3')")
                browser.move(*POINTED)
                browser.wait(f"{MODEL}('status').text.includes('Under the pointer')")
                browser.wait(f"!{MODEL}('status').text.includes('Computing')")
                browser.shot(out)
        finally:
            server.terminate()


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--out", type=Path, default=Path("docs/explore.png"))
    given = parser.parse_args()
    picture([given.run], given.out)


if __name__ == "__main__":
    main()
