"""Programs that tests run in a process of their own, without the run-time checks of shapes, which do not compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(folder: Path, text: str) -> str:
    """What the program `text` prints; it must succeed. `folder` takes its file."""
    script = folder / "program.py"
    script.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
