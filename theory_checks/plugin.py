"""The options and fixtures of the theory checks, as a plugin: `pytest -p theory_checks.plugin` for files of your own.

`case` runs over the exact maps, `interpolant` over the named schedules, `check` records residuals for the closing
table. Where an object of the user's is named by an option, it takes the place of the library's; with `--all` it stands
beside them.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import hypothesis
import pytest
import torch

from flowops import Interpolant
from flowops.checks import Report, Request
from flowops.cli.check import FLAGS as SHOWN
from flowops.cli.console import in_shell, speak
from theory_checks.batches import DRAWN
from theory_checks.cases import Case, exact_cases, register, schedule_cases, user_case
from theory_checks.verdicts import Check, Verdicts

ON_OUR_CASES_ONLY = ("test_negative_control", "test_single_precision")  # nothing is known of a user's object there
EXAMPLES = {"quick": 8, "thorough": 40}
FLAG = {f.name: "--samples" if f.name == "n" else f"--{f.name.replace('_', '-')}" for f in fields(Request)}
OBJECTS = ("alpha", "beta", "gamma", "field", "flow_map", "log_density", "problem")
CHECKS: pytest.StashKey[dict[str, Callable[[], Report]]] = pytest.StashKey()  # that were asked for, by name
SCHEDULE: pytest.StashKey[Interpolant | None] = pytest.StashKey()
CASE: pytest.StashKey[Callable[[], Case | None]] = pytest.StashKey()


def options() -> dict[str, dict[str, Any]]:
    """What the parser is told of every attribute of `Request`: its type, and what it is there said to be."""
    said = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(Request) or "", re.MULTILINE))
    told: dict[str, dict[str, Any]] = {}
    for f in fields(Request):
        hint, text = get_type_hints(Request)[f.name], " ".join(said[f.name].split()).rstrip(".")
        if hint is bool:
            told[f.name] = {"action": "store_true", "help": text}
            continue
        kind, *_ = get_args(hint) or (hint,)
        default = "" if f.default is None else f" (default {f.default})"
        metavar = SHOWN[f.name].shown if f.name in SHOWN else kind.__name__.upper()
        told[f.name] = {"type": kind, "help": text + default, "metavar": metavar}
    return told


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory checks", "point the checks at your own object")
    for name, option in options().items():
        group.addoption(FLAG[name], dest=f"own_{name}", default=None, **option)
    group.addoption("--all", action="store_true", dest="own_all", help="the library's own cases beside your object")
    group.addoption("--report", type=Path, metavar="FILE", help="write the verdicts as a page, such as theory.html")
    group.addoption("--profile", choices=sorted(EXAMPLES), default="quick", help="how many examples are drawn")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "drawn: draws examples, more of them in the thorough profile; make thorough")
    for profile, examples in EXAMPLES.items():
        hypothesis.settings.register_profile(
            f"flowops-{profile}",
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    hypothesis.settings.load_profile(f"flowops-{config.getoption('--profile')}")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that package.module:name of the current folder is found
    given = {f.name: config.getoption(f"own_{f.name}") for f in fields(Request)}
    request = Request(**{name: value for name, value in given.items() if value is not None})
    try:
        asked = any(getattr(request, name) for name in OBJECTS)
        checks: dict[str, Callable[[], Report]] = dict(request.checks()) if asked else {}
        config.stash[CHECKS] = checks
        config.stash[SCHEDULE] = request.interpolant()
        case: Callable[[], Case | None] = cache(partial(user_case, request))
        config.stash[CASE] = case
        if config.getoption("own_all"):
            case()
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(in_words(error)) from None
    if (problem := request.reference) is not None:
        register(f"own {problem.name}", lambda _: problem)
    verdicts = Verdicts()
    config.pluginmanager.register(verdicts, "flowops-verdicts")
    if (path := config.getoption("--report")) is not None:
        from theory_checks.report import HtmlReport, writable  # the figures are wanted by it alone

        told = {"profile": config.getoption("--profile"), "seed": str(request.seed)}
        config.pluginmanager.register(HtmlReport(writable(path.absolute()), verdicts, told), "flowops-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`interpolant` runs over the named schedules, `case` over the exact maps, `own` over what the user asked for."""
    given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    wanted = set(metafunc.fixturenames) - given
    config = metafunc.config
    if "interpolant" in wanted and _is_ours(metafunc, "interpolant"):
        marker = metafunc.definition.get_closest_marker("two_terms")
        chosen = {name: I for name, I in _schedules(config).items() if not (marker and I.has_latent)}
        metafunc.parametrize("interpolant", [pytest.param(I, id=name) for name, I in chosen.items()], indirect=True)
    if "case" in wanted and _is_ours(metafunc, "case"):
        skipped = (own_case(config),) if metafunc.function.__name__ in ON_OUR_CASES_ONLY else ()
        cases = [case for case in _cases(config) if case not in skipped]
        metafunc.parametrize("case", [pytest.param(case, id=case.name) for case in cases], indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what draws as many examples as the profile says; the rest is the same in every profile."""
    if draws(getattr(item, "obj", None), getattr(item, "module", None)):
        item.add_marker("drawn")


def draws(test: object, module: ModuleType | None) -> bool:
    """Whether the number of examples of the profile reaches a test: by Hypothesis, or by a batch in its module."""
    named = () if module is None else vars(module).values()
    return bool(getattr(test, "is_hypothesis_test", False)) or any(value is one for value in named for one in DRAWN)


def own_case(config: pytest.Config) -> Case | None:
    """The user's field and map as a case, made only where a check wants one: it is called in double precision.

    Raises:
        CollectError: if it cannot be one.
    """
    try:
        return config.stash[CASE]()
    except (ValueError, TypeError) as error:
        raise pytest.Collector.CollectError(in_words(error)) from None


def in_words(error: Exception) -> str:
    """What an error says, with the options of pytest for the names of the library."""
    speak(FLAG)
    return in_shell(str(error))


def _names(names: str | list[str] | tuple[str, ...]) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a fixture is that of this file, not one of the same name of another test suite."""
    found = metafunc._arg2fixturedefs.get(name, ())
    return bool(found) and found[-1].func.__module__ == __name__


def _schedules(config: pytest.Config) -> dict[str, Interpolant]:
    own = config.stash[SCHEDULE]
    if own is None:
        return schedule_cases()
    return {**schedule_cases(), "user": own} if config.getoption("own_all") else {"user": own}


def _cases(config: pytest.Config) -> list[Case]:
    schedule, own = config.stash[SCHEDULE], own_case(config)
    mine = [] if own is None else [own]
    if config.getoption("own_all"):
        return [*exact_cases(None), *(exact_cases(schedule) if schedule is not None else []), *mine]
    return mine or exact_cases(schedule)


@pytest.fixture
def interpolant(request: pytest.FixtureRequest) -> Interpolant:
    """A schedule."""
    return request.param


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """A field and its exact map."""
    return request.param


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Check:
    """Records residuals of the statement that the test's module states."""
    return Check(request.node)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)
