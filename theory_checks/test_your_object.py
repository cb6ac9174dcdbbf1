"""Your own object satisfies the equations of the theory.

What `--alpha`, `--field`, `--flow-map` or `--problem` name is held to every equation by `flowops.checks`; each is a
line of the closing table, and a failure names the first broken one with its place and both sides. Nothing is drawn
twice and nothing is shrunk.

Source: flowops.checks.
"""

from __future__ import annotations

import pytest

from theory_checks.plugin import CHECKS, in_words
from theory_checks.verdicts import Check


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    checks = metafunc.config.stash[CHECKS]
    metafunc.parametrize("name", list(checks))


def test_it_satisfies_every_equation(name: str, check: Check, request: pytest.FixtureRequest) -> None:
    checks = request.config.stash[CHECKS]
    try:
        report = checks[name]()
    except (ValueError, TypeError) as error:
        raise pytest.fail.Exception(in_words(error), pytrace=False) from None
    check.report(report)
