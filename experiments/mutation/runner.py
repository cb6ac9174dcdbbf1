"""Mutants one after another, each in a process that is forked after the libraries beneath were imported, once."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.mutation.judge import judge
from experiments.mutation.mutants import Mutant
from experiments.mutation.packages import FEW, HEAVY, PACKAGES
from experiments.mutation.records import Found

BENEATH: tuple[str, ...] = ("torch", "torch._dynamo", "torch.func", "torchdiffeq", "torchvision", "numpy", "sympy")
BENEATH += ("scipy.integrate", "scipy.optimize", "scipy.stats", "sklearn", "matplotlib.figure")
BENEATH += ("hypothesis", "pytest", "jaxtyping")


def warm() -> None:
    """Import what every process needs."""
    for name in BENEATH:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def refuse_blindness(package: str) -> None:
    """Refuse to judge by checks that do not run, or fail without a mutant: all would get through, or none.

    Raises:
        RuntimeError: unless a file of theory and the tests of a package run beside each other and pass.
    """
    files = ["theory_checks/test_identity.py", *PACKAGES[package].judges(light=True)]
    lines = in_process(None, files, light=True)[0]
    if failed := [line for line in lines if line[1] != "begun"]:
        told = "; ".join("::".join((file, *where)) for file, _, *where in failed)
        raise RuntimeError(f"Tests must pass without a mutant, got failures in {told}; run them by hand to see why.")
    if not {files[0], files[1]} <= {line[0] for line in lines}:
        raise RuntimeError(f"pytest must run {' '.join(files[:2])} together, it does not; run it by hand to see why.")


class Reach:
    """Which modules each file of checks calls into, and what it takes; found once and kept in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self.modules: dict[str, list[str]] = {file: modules for file, *modules, _ in known}
        self.seconds: dict[str, float] = {file: seconds for file, *_, seconds in known}

    def find(self, files: Sequence[str]) -> None:
        """Add what is not known yet."""
        wanted = [file for file in files if file not in self.modules]
        if not wanted:
            return
        for file, *modules, seconds in in_process(None, wanted, light=True, walk=True)[0]:
            self.modules[file], self.seconds[file] = modules, float(seconds)
        known = [[file, *modules, self.seconds[file]] for file, modules in self.modules.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(known, indent=0), encoding="utf-8")

    def of(self, path: str, *, light: bool) -> list[str]:
        """The files that call into a module, those first that call into few others; lightly, some quick ones."""
        reaching = (file for file, modules in self.modules.items() if path in modules)
        found = sorted(reaching, key=lambda file: (len(self.modules[file]), file))
        return [file for file in found if self.seconds[file] <= HEAVY][:FEW] if light else found


def judged(mutant: Mutant, package: str, reach: Reach, *, light: bool = True) -> Found:
    """What the checks that call into its module and the tests of its package say of a mutant."""
    own = Path(mutant.path).stem.strip("_")  # whose tests are asked first
    tests = sorted(PACKAGES[package].judges(light=light), key=lambda file: own not in Path(file).name)
    files = [*reach.of(mutant.path, light=light), *tests]
    lines, seconds = in_process(mutant, files, light=light)
    said: dict[str, str] = {}
    where: dict[str, str] = {}
    for file, word, *place in lines:
        if word == "begun":
            said.setdefault(file, "passed")
        else:
            said[file], where[file] = word, place[0]
    return Found(mutant.key, mutant.name, package, said, where, light, round(seconds, 1))


def in_process(
    mutant: Mutant | None, files: Sequence[str], *, light: bool, walk: bool = False
) -> tuple[list[list[str]], float]:
    """`judge` in a process of its own: its lines, and the processor seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "said"
        pid = os.fork()
        if pid == 0:
            try:
                judge(mutant, files, out, light=light, walk=walk)
            finally:
                os._exit(0)
        _, _, usage = os.wait4(pid, 0)
        text = out.read_text(encoding="utf-8") if out.exists() else ""
        return [json.loads(line) for line in text.splitlines()], usage.ru_utime + usage.ru_stime
