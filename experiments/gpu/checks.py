"""The stage that runs the tests marked `gpu`, a part at a time; on a CPU it runs some of their twins."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from experiments.gpu.recipe import Setting

ROOT = Path(__file__).parents[2]
REAL = "tests/devices/test_cuda.py"
PARTS = {
    "every case": [REAL, "-k", "every_case"],
    "engine": [REAL, "-k", "TestEngine"],
    "data, times, samples": [REAL, "-k", "TestData or TestTimes or TestSamples"],
    "bfloat16": [REAL, "-k", "bfloat16"],
    "one process in a group": [REAL, "-k", "one_process"],
    "compiled, perceptron": [REAL, "-k", "compiled and mlp"],
    "compiled, U-Net": [REAL, "-k", "compiled and unet"],
    "elsewhere": ["tests", "--ignore", REAL],
}
TINY = {"data, times": [REAL, "-k", "(TestData or TestTimes) and cpu"]}


def measures(setting: Setting, left: Callable[[], float]) -> dict[str, Callable[[], dict[str, Any]]]:
    """The parts."""
    if setting.tiny:
        return {name: partial(part, words, left) for name, words in TINY.items()}
    return {name: partial(part, [*words, "-m", "gpu"], left) for name, words in PARTS.items()}


def part(words: list[str], left: Callable[[], float]) -> dict[str, Any]:
    """Passed, failed and skipped tests, with a line for each that failed; it ends with the time of the stage."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *words]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(left(), 30.0))
        except subprocess.TimeoutExpired as stopped:
            raise TimeoutError(f"The tests took longer than {stopped.timeout:.0f} s; call the stage again.") from None
        if not report.is_file():
            raise RuntimeError(f"pytest did not run: {(done.stdout + done.stderr).strip()[-500:]}")
        return counted(report)


def counted(report: Path) -> dict[str, Any]:
    """What a report in the format of JUnit holds."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed, skipped = [], 0
    for case in cases:
        fault = next((found for found in case if found.tag in ("failure", "error")), None)
        skipped += any(found.tag == "skipped" for found in case)
        if fault is not None:
            why = (fault.get("message") or "").splitlines()
            failed.append(f"{case.get('name')}: {why[0][:200] if why else fault.tag}")
    seconds = sum(float(case.get("time") or 0) for case in cases)
    passed = len(cases) - len(failed) - skipped
    return {"passed": passed, "failed": failed, "skipped": skipped, "seconds": round(seconds, 1)}
