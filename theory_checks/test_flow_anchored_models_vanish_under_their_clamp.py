r"""Flow-anchored consistency models are the Eulerian semigradient times (1-s^p) cos(pi s/2), beside flow matching.

* Gradients on random networks: `facm` off the diagonal is `ayf-emd` at $t=1$ with that weight; a clamp that no entry of
  the tangent reaches changes nothing, and one that is reached pulls by the clamped tangent.
* With a teacher the tangent is zero at the exact map, so that clamp, cosine and adaptive weight are inactive there: the
  loss vanishes under the options of the paper.
* Without one the cosine moves the minimum of the anchor: at $v=b$, beside the sum of squares, its
  gradient is $-\tfrac{\lambda d}{|b|}\big(1-\tfrac{bb^\top}{|b|^2}\big)\mathbb E\tfrac{\dot I}{|\dot I|}$.
* Under the options of the paper the loss is that of its code, written down from the network alone.

Source: 2507.03738 and its public code.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import METHODS, get_method
from theory_checks.cases import CLOSED_FORM, random_gaussian
from theory_checks.gradients import (
    EDGES,
    STARTS,
    Edge,
    Fixed,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
)
from theory_checks.method_families import Family
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

I, B = interpolants.linear(), SmoothField((2,), seed=4)
TO_ONE = Fixed(t=tuple(1.0 for _ in STARTS))
PAPER = METHODS["facm"].row.paper
EDGE = pytest.mark.parametrize("edge", [EDGES[name] for name in EDGES if name != "equal times"], ids=str)


def weight(s: Tensor, _t: Tensor, p: float = 0.5) -> Tensor:
    r"""$(1-s^p)\cos\tfrac\pi2s$."""
    return (1 - s**p) * torch.cos(0.5 * math.pi * s)


@EDGE
@pytest.mark.parametrize("taught", [True, False])
def test_the_second_term_is_the_eulerian_semigradient(check: Check, edge: Edge, taught: bool) -> None:
    X, samples = random_map(1, edge.event).to(edge.dtype), batch(1, edge.n, edge.event, edge.dtype)
    b = SmoothField(edge.event, seed=4)
    facm = get_method("facm", eta=0.0, law=TO_ONE, clamp=1e6)
    ours = gradient(facm, X, I, samples, teacher=b if taught else None)
    same = {"law": TO_ONE, "weight": weight}
    theirs = (
        gradient(get_method("ayf-emd", **same), X, I, samples, teacher=b)
        if taught
        else gradient(get_method("scm", **same), X, I, samples)
    )
    assert ours.dtype == edge.dtype
    agree(check, ours, theirs, edge.tolerance)


def test_another_relaxation_is_another_weight(check: Check) -> None:
    X, samples = random_map(2), batch(2)
    theirs = gradient(get_method("ayf-emd", law=TO_ONE, weight=weight), X, I, samples, teacher=B)
    wrong, half = (
        gradient(get_method("facm", eta=0.0, law=TO_ONE, relaxation=0.5 + delta), X, I, samples, teacher=B) - theirs
        for delta in (1e-2, 5e-3)
    )
    check.sees(wrong / theirs.norm(), half / theirs.norm(), 1e-9)


def test_a_clamp_that_is_reached_pulls_by_the_clamped_tangent(check: Check) -> None:
    X, (x0, x1), c = random_map(3), batch(3), 0.2
    s = torch.tensor(STARTS, dtype=x0.dtype)
    one, x = torch.ones_like(s), I(s, x0, x1)
    b = B(s, x)
    v, rate, *_ = torch.func.jvp(lambda s, x: X.network(s, one, x), (s, x), (one, b))
    tangent = v - b - (1 - s)[:, None] * rate
    assert 0.2 < (tangent.abs() > c).double().mean() < 0.9
    pull = 2 * (weight(s, one)[:, None] * tangent.clamp(-c, c)).detach()
    by_hand = flat_gradient((pull * X.network(s, one, x)).sum(1).mean(), X)
    ours, free = (
        gradient(get_method("facm", eta=0.0, law=TO_ONE, clamp=clamp), X, I, batch(3), teacher=B) for clamp in (c, None)
    )
    agree(check, ours, by_hand)
    differ(free, by_hand)


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_with_a_teacher_the_options_of_the_paper_leave_the_zero(check: Check, size: int, eta: float) -> None:
    problem, method = random_gaussian(I, size, seed=3), get_method("facm", **PAPER).with_options(eta=eta)
    samples = [normal(seed, 12, size) for seed in (1, 2)]
    for delta in (0.0, 0.1):
        X = Family(problem.X, size, delta)
        loss = method(X, I, *samples, teacher=problem.b, seed=3).loss
        if delta:
            assert loss > 1e-4
        else:
            check.vanishes(torch.cat([loss[None], torch.autograd.grad(loss, X.theta)[0]]), 1e-6)


class Constant(nn.Module):
    """One velocity, whatever the time and the state."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.value.expand_as(x)


@pytest.mark.parametrize("cosine", [0.0, 1.0, 2.5])
def test_the_cosine_moves_the_minimum_without_a_teacher(check: Check, cosine: float) -> None:
    """Two samples that meet at the origin at time 1/2, with the velocities of both."""
    half = torch.tensor([[1.0, 0.2], [-0.1, 0.6]], dtype=torch.float64)
    velocity = 2 * half
    b = velocity.mean(0)
    X = LearnedMap(Constant(b.clone()))
    method = get_method("facm", eta=1.0, cosine=cosine, law=Fixed(s=(0.5, 0.5), t=(1.0, 1.0)))
    found = flat_gradient(method(X, I, -half, half, seed=0).loss, X)
    direction = (velocity / velocity.norm(dim=1, keepdim=True)).mean(0)
    wanted = -2 * cosine / b.norm() * (direction - b * (b @ direction) / (b @ b))
    check.vanishes(found - wanted, CLOSED_FORM)
    assert cosine == 0 or wanted.norm() > 0.1


def test_the_loss_of_the_paper_is_that_of_its_code(check: Check) -> None:
    """Means over the numbers of an event, cosines along its channels."""
    event = (3, 2, 2)
    X, (x0, x1) = random_map(5, event), batch(5, 6, event)
    s = torch.tensor(STARTS, dtype=x0.dtype)
    b, one = SmoothField(event, seed=6), torch.ones_like(s)
    x = I(s, x0, x1)
    v = b(s, x)
    F, rate, *_ = torch.func.jvp(lambda s, x: X.network(s, one, x), (s, x), (one, v))
    off = (F - v - (1 - s).reshape(-1, 1, 1, 1) * rate).clamp(-1, 1)
    error = ((1 - s**0.5).reshape(-1, 1, 1, 1) * off).square().mean((1, 2, 3))
    consistency = error / (error + 1e-3) ** 0.5 * torch.cos(s * math.pi / 2)
    diagonal = X.network(s, s, x)
    anchored = (diagonal - v).square().mean((1, 2, 3))
    cosine = 1 - torch.nn.functional.cosine_similarity(diagonal, v, dim=1).mean((1, 2))
    for eta, terms in ((0.0, {"eulerian": consistency}), (1.0, {"diagonal": anchored, "cosine": cosine})):
        method = get_method("facm", **PAPER).with_options(eta=eta, law=TO_ONE)
        found = method(X, I, x0, x1, teacher=b, seed=0)
        assert set(found.per_term) == set(terms)
        for name, wanted in terms.items():
            check.vanishes(found.per_term[name] - wanted, CLOSED_FORM, where=f"of the term {name}")
        plain = METHODS["facm"].with_options(eta=eta, law=TO_ONE)(X, I, x0, x1, teacher=b, seed=0)
        assert (plain.loss - found.loss).abs() > 0.1
