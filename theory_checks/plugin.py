"""The options and fixtures of the theory checks, as a plugin: `pytest -p theory_checks.plugin` for files of your own.

`case` runs over the exact maps, `interpolant` over the named schedules, `check` records residuals for the closing
table. Where an object of the user's is named by an option, it takes the place of the library's; with `--all` it stands
beside them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from typing import Any

import hypothesis
import pytest
import torch

from flowops import Interpolant
from flowops.checks import Request
from theory_checks.cases import Case, exact_cases, register, schedule_cases, user_case
from theory_checks.verdicts import Check, Verdicts

ON_OUR_CASES_ONLY = ("test_negative_control", "test_single_precision")  # nothing is known of a user's object there
EXAMPLES = {"quick": 8, "thorough": 40}
NAMED = "pkg.module:factory"
OPTIONS: dict[str, dict[str, Any]] = {
    "alpha": {"help": 'base coefficient of your interpolant, e.g. "cos(pi*t/2)"'},
    "beta": {"help": 'data coefficient of your interpolant, e.g. "sin(pi*t/2)"'},
    "gamma": {"help": 'latent coefficient of your interpolant, e.g. "sqrt(2*t*(1-t))"'},
    "ends_differ": {"action": "store_true", "help": "your interpolant need not reach base and data at its ends"},
    "field": {"metavar": NAMED, "help": "your VelocityField; solved, and the solution checked"},
    "flow_map": {"metavar": NAMED, "help": "your FlowMap; checked against --field, or its implied field"},
    "log_density": {"metavar": NAMED, "help": "log rho of (t, x), the law that --field transports"},
    "problem": {"metavar": NAMED, "help": "your reference problem; with --all a case of every check"},
    "event": {"help": "event shape of your field or map, e.g. 3,32,32 (default 2)"},
    "horizon": {"metavar": "START,END", "help": "first and last time of your field or map (default 0,1)"},
    "states": {"metavar": NAMED, "help": "a tensor of states or a sampler of (n, generator) (default: normal)"},
    "tolerance": {"type": float, "help": "what counts as zero for your object (default 1e-9, float32 4e-4)"},
    "n": {"type": int, "help": "number of samples your object is looked at with (default 24, large states 8)"},
    "seconds": {"type": float, "help": "processor time for your object (default 40)"},
    "seed": {"type": int, "help": "of the times and states your object is looked at with (default 0)"},
}
REQUEST: pytest.StashKey[Request | None] = pytest.StashKey()
SCHEDULE: pytest.StashKey[Interpolant | None] = pytest.StashKey()
CASE: pytest.StashKey[Case | None] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory checks", "point the checks at your own object")
    for name, option in OPTIONS.items():
        flag = "--samples" if name == "n" else f"--{name.replace('_', '-')}"
        group.addoption(flag, dest=f"own_{name}", default=None, **option)
    group.addoption("--all", action="store_true", dest="own_all", help="the library's own cases beside your object")
    group.addoption("--profile", choices=sorted(EXAMPLES), default="quick", help="how many examples are drawn")


def pytest_configure(config: pytest.Config) -> None:
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
    objects = (request.alpha, request.beta, request.gamma, request.field, request.flow_map, request.problem)
    try:
        config.stash[REQUEST] = request if any(objects) else None
        config.stash[SCHEDULE] = request.interpolant()
        config.stash[CASE] = user_case(request)
        problem = request.reference()
        if any(objects):
            request.checks()
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(str(error)) from None
    if problem is not None:
        register(f"own {problem.name}", lambda _: problem)
    config.pluginmanager.register(Verdicts(), "flowops-verdicts")


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
        skipped = (config.stash[CASE],) if metafunc.function.__name__ in ON_OUR_CASES_ONLY else ()
        cases = [case for case in _cases(config) if case not in skipped]
        metafunc.parametrize("case", [pytest.param(case, id=case.name) for case in cases], indirect=True)


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
    schedule, own = config.stash[SCHEDULE], config.stash[CASE]
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
