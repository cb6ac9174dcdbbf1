"""Which theory checks the thorough profile is for: those that draw examples, and no others."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

import theory_checks
from theory_checks import batches
from theory_checks.plugin import draws

ROOT = Path(theory_checks.__file__).parent


def holding(**names: object) -> ModuleType:
    """A module with these names."""
    module = ModuleType("test_something")
    vars(module).update(names)
    return module


@given(st.integers())
def drawing(_: int) -> None:
    """Nothing."""


def plain() -> None:
    """Nothing."""


def test_examples_are_drawn_by_hypothesis_and_in_batches() -> None:
    assert draws(drawing, holding())
    assert draws(plain, holding(batch=batches.batch))
    assert draws(plain, holding(states=batches.batch))
    assert draws(plain, holding(inner_times=batches.inner_times))
    assert not draws(plain, holding(drawing=drawing, batch=plain))
    assert not draws(None, None)


def test_nothing_else_asks_for_the_number_of_examples() -> None:
    asking = {path.name for path in ROOT.glob("*.py") if "max_examples" in path.read_text(encoding="utf-8")}
    assert asking == {"batches.py", "plugin.py", "strategies.py"}
    users = {path.name for path in ROOT.glob("*.py") if "batches import" in path.read_text(encoding="utf-8")}
    assert all(name == "plugin.py" or name.startswith("test_") for name in users)  # whose modules are looked at
