"""The examples in the docstrings run, and the classes that everything else is made of have one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import flowops
from flowops import FlowMap, Interpolant, LearnedMap, Run, SolutionOperator, TrainConfig, VelocityField
from flowops.data import Dataset
from flowops.methods import Method, Term

ROOT = Path(flowops.__file__).parent
CENTRAL = [
    Interpolant, VelocityField, FlowMap, SolutionOperator, LearnedMap, Term, Method, Dataset, TrainConfig, Run
]  # fmt: skip
WITH_EXAMPLES = sorted(file for file in ROOT.rglob("*.py") if ">>>" in file.read_text())


@pytest.mark.parametrize("kind", CENTRAL, ids=lambda kind: kind.__name__)
def test_a_central_class_has_an_example(kind: type) -> None:
    examples = doctest.DocTestParser().get_examples(kind.__doc__ or "")
    assert len(examples) >= 2


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_examples_say_what_happens(file: Path) -> None:
    module = importlib.import_module(".".join(file.relative_to(ROOT.parent).with_suffix("").parts))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
