"""Options of `pytest theory_checks`, the user's own object as a case, and the closing table of statements."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch

from theory_checks.cases import Case, exact_cases, schedule_cases, user_case, user_interpolant
from theory_checks.verdicts import Check, Verdicts

ON_OUR_CASES_ONLY = ("test_negative_control", "test_single_precision")  # nothing is known of a user's object there
EXAMPLES = {"quick": 8, "thorough": 40}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory checks", "point the checks at your own object")
    group.addoption("--alpha", help='base coefficient of your interpolant, e.g. "cos(pi*t/2)"')
    group.addoption("--beta", help='data coefficient of your interpolant, e.g. "sin(pi*t/2)"')
    group.addoption("--gamma", help='latent coefficient of your interpolant, e.g. "sqrt(2*t*(1-t))"')
    group.addoption("--field", metavar="pkg.module:factory", help="factory of your VelocityField")
    group.addoption("--flow-map", metavar="pkg.module:factory", help="factory of your FlowMap; checked against --field")
    group.addoption("--event", default="2", help="event shape of your field or map, e.g. 3,32,32 (default 2)")
    group.addoption("--tolerance", type=float, help="tolerance for your field or map (default 1e-7)")
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
    try:
        config.stash[SCHEDULE] = user_interpolant(
            config.getoption("--alpha"), config.getoption("--beta"), config.getoption("--gamma")
        )
        config.stash[CASE] = user_case(
            config.getoption("--field"),
            config.getoption("--flow-map"),
            config.getoption("--event"),
            config.getoption("--tolerance"),
        )
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Verdicts(config), "flowops-verdicts")


SCHEDULE: pytest.StashKey = pytest.StashKey()
CASE: pytest.StashKey[Case | None] = pytest.StashKey()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`interpolant` runs over the named schedules, `case` over the exact maps; the user's own object replaces them."""
    if "interpolant" in metafunc.fixturenames:
        own = metafunc.config.stash[SCHEDULE]
        schedules = schedule_cases() if own is None else {"user": own}
        marker = metafunc.definition.get_closest_marker("two_terms")
        chosen = {name: I for name, I in schedules.items() if not (marker and I.has_latent)}
        metafunc.parametrize("interpolant", [pytest.param(I, id=name) for name, I in chosen.items()])
    if "case" in metafunc.fixturenames:
        own_case = metafunc.config.stash[CASE]
        cases = exact_cases(metafunc.config.stash[SCHEDULE]) if own_case is None else [own_case]
        if own_case is not None and metafunc.function.__name__ in ON_OUR_CASES_ONLY:
            cases = []
        metafunc.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Check:
    """Records residuals of the statement that the test's module states."""
    return Check(request.node)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _quick_small_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More threads, and shape checks of every call (which `tests/` are for), only slow small solves down."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
