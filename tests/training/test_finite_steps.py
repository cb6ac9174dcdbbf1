"""Steps that are skipped because something is not finite: how many in a row end a run, and what is said then."""

from __future__ import annotations

import torch

from flowops.methods import MethodResult
from flowops.training.optimization import FiniteSteps


def test_only_steps_in_a_row_exhaust_the_patience() -> None:
    steps = FiniteSteps(patience=2)
    for finite in (False, True, False):
        steps.note(torch.tensor(finite))
    assert (steps.read(), steps.exhausted) == ((2, 1), False)
    steps.note(torch.tensor(False))
    assert (steps.read(), steps.exhausted) == ((3, 2), True)
    steps.note(torch.tensor(True))
    assert (steps.read(), steps.exhausted) == ((3, 0), False)
    steps.restore(7, 1)
    steps.note(torch.tensor(False))
    assert steps.read() == (8, 2)


def test_the_explanation_names_term_times_and_seed() -> None:
    steps = FiniteSteps(patience=1)
    steps.note(torch.tensor(False))
    per_sample = torch.tensor([1.0, float("nan")])
    s, t = torch.tensor([0.1, 0.25]), torch.tensor([0.2, 0.75])
    result = MethodResult(
        per_sample.mean(), {}, per_sample, s, t, per_term={"lagrangian": per_sample}, seed=torch.tensor(1234)
    )
    text = steps.explain(7, [result])
    for part in ("step 7", "'lagrangian'", "(0.25, 0.75)", "seed=1234", "checkpoint is kept"):
        assert part in text


def test_a_finite_loss_with_another_gradient_is_told_as_such() -> None:
    steps = FiniteSteps(patience=1)
    steps.note(torch.tensor(False))
    values = torch.ones(2)
    result = MethodResult(
        values.mean(), {}, values, values, values, per_term={"diagonal": values}, seed=torch.tensor(1)
    )
    assert "The loss is finite, its gradient is not." in steps.explain(7, [result])
