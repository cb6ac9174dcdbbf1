"""Your own object satisfies the equations of the theory.

What `--alpha`, `--field`, `--flow-map` or `--problem` name is held to every equation by `flowops.checks`; each is a
line of the closing table, and a failure names the first broken one with its place and both sides. Nothing is drawn
twice and nothing is shrunk.

Source: flowops.checks.
"""

from __future__ import annotations

import pytest

from theory_checks.plugin import REQUEST
from theory_checks.verdicts import Check


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    request = metafunc.config.stash[REQUEST]
    names = [name for name, _ in request.checks()] if request is not None else []
    metafunc.parametrize("name", names)


def test_it_satisfies_every_equation(name: str, check: Check, request: pytest.FixtureRequest) -> None:
    asked = request.config.stash[REQUEST]
    assert asked is not None
    check.report(dict(asked.checks())[name]())
