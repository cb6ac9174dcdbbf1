"""The page on theory checks says what the library does."""

from __future__ import annotations

import doctest
from dataclasses import fields
from pathlib import Path

import flowops
from flowops.checks import Request

PAGE = Path(flowops.__file__).parent.parent / "docs" / "theory_checks.md"


def test_the_examples_say_what_happens() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 10
    assert result.failed == 0


def test_every_option_stands_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"--{f.name.replace('_', '-')}" in text for f in fields(Request))
