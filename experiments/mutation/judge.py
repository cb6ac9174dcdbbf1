"""One mutant before the checks: a process of its own imports the changed module and runs the files that use it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TextIO

import hypothesis
import pytest

from experiments.mutation.mutants import ROOT, Mutant
from tests import shapes

PLAIN: tuple[str, ...] = ("-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not gpu and not dist")
PLAIN += ("-o", "addopts=--import-mode=importlib")
LIBRARY = f"{ROOT / 'flowops'}{os.sep}"
LIGHT = 3  # checks kept of one that runs over many cases, and examples of a property
ENOUGH = 3  # files of theory that catch a mutant; the others are not asked
BROKEN = (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)  # no check was run
PATIENCE = {True: 15, False: 200}  # processor seconds after which one check is said not to end, lightly and in full


class Changed(SourceFileLoader):
    """Loads one module from the text of a mutant."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    """Finds the mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self.mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Changed(fullname, spec.origin, self.mutant.text())
        return spec


class Judge:
    """A pytest plugin: each file is run until its first failure, and what came of it is written down at once."""

    def __init__(self, out: TextIO, light: bool) -> None:
        self.out, self.light = out, light
        self.file, self.caught = "", set[str]()
        signal.signal(signal.SIGPROF, self._endless)

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        if self.light:
            hypothesis.settings.register_profile("mutants", parent=hypothesis.settings(), max_examples=LIGHT)
            hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _is_theory(item.nodeid) or not item.get_closest_marker("slow")]
        if self.light:
            items[:] = thinned(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skips what is decided already; here, and not at the protocol, which tears down what the last check set up."""
        file = _file(item.nodeid)
        alike = sum(_is_theory(caught) == _is_theory(file) for caught in self.caught)
        if file in self.caught or alike >= (ENOUGH if _is_theory(file) else 1):
            pytest.skip("decided already")
        signal.setitimer(signal.ITIMER_PROF, PATIENCE[self.light])
        if file != self.file:
            self.file = file
            self._say(file, "begun")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._fail(_file(report.nodeid), report.nodeid.partition("::")[2])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._fail(_file(report.nodeid), "collection")

    def _fail(self, file: str, where: str) -> None:
        if file not in self.caught:
            self.caught.add(file)
            self._say(file, "caught", where)

    def _endless(self, *_: Any) -> None:
        self._say(self.file, "time", "")
        os._exit(0)

    def _say(self, *words: str | float) -> None:
        self.out.write(json.dumps(words) + "\n")
        self.out.flush()


def thinned(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """At most `LIGHT` of the cases of each check, spread over all of them."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    kept: list[pytest.Item] = []
    for same in cases.values():
        places = {round(i * (len(same) - 1) / (LIGHT - 1)) for i in range(LIGHT)}
        kept += [item for i, item in enumerate(same) if i in places]
    return kept


class Walk(Judge):
    """Notes which modules of the library each file calls into, and the processor seconds that it takes."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out, light=True)
        self.called, self.before = set[str](), 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if _file(item.nodeid) != self.file:
            self.pytest_sessionfinish()
            self.file, self.before = _file(item.nodeid), time.process_time()
            sys.setprofile(self.profile)

    def pytest_sessionfinish(self) -> None:
        """The last file has ended."""
        sys.setprofile(None)
        if self.file:
            modules = sorted(str(Path(name).relative_to(ROOT)) for name in self.called if name.startswith(LIBRARY))
            self._say(self.file, *modules, round(time.process_time() - self.before, 2))
        self.called.clear()

    def profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        """What the interpreter calls at every call."""
        if event == "call":
            self.called.add(frame.f_code.co_filename)


def judge(mutant: Mutant | None, files: Sequence[str], out: Path, *, light: bool, walk: bool = False) -> None:
    """Run the files against a mutant, in a process that ends with this function; results go to `out` line by line.

    Without a mutant they are run against the library, to `walk` to find which modules each file calls into.
    """
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(ROOT)
    with out.open("w") as lines:
        plugin = Walk(lines) if walk else Judge(lines, light)
        shapes.install()  # the tests want it before the library, which the mutant imports
        if mutant is not None:
            sys.meta_path.insert(0, Finder(mutant))
            try:
                importlib.import_module(mutant.module)
            except Exception:
                lines.write(json.dumps(["import", "caught", "import"]) + "\n")
                return
        if pytest.main([*PLAIN, *files], plugins=[plugin]) in BROKEN:  # by the mutant: `refuse_blindness` has looked
            lines.write(json.dumps(["import", "caught", "conftest"]) + "\n")


def _is_theory(name: str) -> bool:
    return name.startswith("theory_checks")


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
