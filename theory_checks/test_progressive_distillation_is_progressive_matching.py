r"""Progressive distillation is progressive flow map matching with K = 2 on a dyadic ladder: `pd` = `pfmm`.

Gradients on random networks. The teacher is the map of the round before; in the first round it is a field, and one
Euler step of it is the map.

Source: 2505.18825 (30), (31); 2202.00512 Alg. 2; 2406.07507 Alg. 3.
"""

import pytest
import torch

from flowops import FlowMap, Interpolant, SolutionOperator, interpolants
from flowops._arguments import per_event
from flowops.methods import get_method
from flowops.times import Dyadic, Halving
from theory_checks.gradients import agree, batch, differ, gradient, random_map
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

B = SmoothField((2,), seed=6)
LADDER = Halving(10, 100)
EULER = FlowMap.from_function(lambda s, t, x: x + per_event(t - s, x) * B(s, x))


@pytest.mark.parametrize("step", [0, 450, None])
def test_same_gradient_with_a_map(interpolant: Interpolant, check: Check, step: int | None) -> None:
    X, samples, before = random_map(), batch(), random_map(1)
    pd, pfmm = get_method("pd", law=LADDER), get_method("pfmm", law=LADDER)
    ours = gradient(pd, X, interpolant, samples, teacher=before, step=step)
    agree(check, ours, gradient(pfmm, X, interpolant, samples, teacher=before, step=step))


@pytest.mark.parametrize("step", [0, 450, None])
def test_one_step_of_a_field_is_the_map_of_the_first_round(check: Check, step: int | None) -> None:
    I, X, samples = interpolants.linear(), random_map(2), batch(2)
    ours = gradient(get_method("pd", law=LADDER), X, I, samples, teacher=B, step=step)
    agree(check, ours, gradient(get_method("pfmm", law=LADDER), X, I, samples, teacher=EULER, step=step))
    heun = gradient(get_method("pd", law=LADDER, solver="heun"), X, I, samples, teacher=B, step=step)
    teacher = SolutionOperator(B, method="heun", steps=1)
    agree(check, heun, gradient(get_method("pfmm", law=LADDER), X, I, samples, teacher=teacher, step=step))


def test_the_two_steps_are_the_composition(check: Check) -> None:
    I, X, samples, before = interpolants.linear(), random_map(3), batch(3), random_map(4)
    term = get_method("pd").draw(X, I, *samples, teacher=before, seed=3).terms[0]
    assert term is not None
    middle = (term.s + term.t) / 2
    x = I(term.s, *samples)
    target = before(middle, term.t, before(term.s, middle, x))
    loss = (X(term.s, term.t, x) - target.detach()).square().sum(1).mean()
    ours = gradient(get_method("pd"), X, I, samples, teacher=before)
    parts = torch.autograd.grad(loss, list(X.parameters()))
    agree(check, ours, torch.cat([part.flatten() for part in parts]))


def test_negative_control() -> None:
    I, X, samples, before = interpolants.linear(), random_map(5), batch(5), random_map(6)
    pd = gradient(get_method("pd", law=LADDER), X, I, samples, teacher=before)
    for options in ({"law": LADDER, "K": 3}, {"law": LADDER, "K": 1}, {"law": Dyadic(7), "K": 2}):
        differ(pd, gradient(get_method("pfmm", **options), X, I, samples, teacher=before))
    field = gradient(get_method("pd", law=LADDER), X, I, samples, teacher=B)
    differ(field, gradient(get_method("pd", law=LADDER, solver="heun"), X, I, samples, teacher=B))
