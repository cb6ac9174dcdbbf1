r"""The loss of a student and a teacher of other parameters has its gradient in the student alone.

For $L(\theta,\phi)=\mathbb E|\partial_tX^\theta_{s,t}(I_s)-v^\phi_{t,t}(X^\theta_{s,t}(I_s))|^2$ and its Eulerian and
progressive kin, the step of $\theta$ is $\nabla_\theta L$ with the teacher's side held, at $\phi=\theta$ the
recommendation (94), else at the average $\phi_k=\delta\phi_{k-1}+(1-\delta)\theta_k$, which is
$\delta^k\phi_0+(1-\delta)\sum_j\delta^{k-j}\theta_j$. With $\delta=0$ the average is the student and the step that of
(94); with $\delta\to1$ it is a fixed teacher. The step depends on $\phi$ smoothly: averages apart by $\epsilon$ give
gradients apart by $O(\epsilon)$.

Hypotheses: none; a random network along a path of parameters. The side of the teacher is computed from $\phi$ before,
as numbers, so that nothing of it can be differentiated. `test_averages_are_the_constant_side.py` has every row.

Source: 2505.18825 F.4 (94)-(96).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, interpolants
from flowops.methods import TermDraw, get_method
from flowops.residuals import Sides
from flowops.training.averages import Averages
from theory_checks.by_hand import eulerian_differenced, lagrangian_differenced, moved, on_diagonal, squares, through
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import (
    DIFFERENCED,
    EDGES,
    SAME,
    Edge,
    Network,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
)
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
Loss = Callable[[Network, Network, TermDraw, Tensor], Sides]


def lsd(v: Network, w: Network, k: TermDraw, x: Tensor) -> Sides:
    return lagrangian_differenced(v, on_diagonal(w), k, x)


def esd(v: Network, w: Network, k: TermDraw, x: Tensor) -> Sides:
    return eulerian_differenced(v, w, on_diagonal(w), k, x)


def psd(v: Network, w: Network, k: TermDraw, x: Tensor) -> Sides:
    return Sides(moved(v, k.s, k.t, x), through(w, k, x))


LOSSES: dict[str, tuple[Loss, float]] = {"lsd": (lsd, DIFFERENCED), "esd": (esd, DIFFERENCED), "psd-u": (psd, SAME)}
EVERY = pytest.mark.parametrize("name", LOSSES)


def by_hand(name: str, X: LearnedMap, average: LearnedMap, samples: tuple[Tensor, Tensor]) -> Tensor:
    """The gradient in the student, of networks alone."""
    method = get_method(name, form="map", eta=0.0, ema_teacher=True)
    (_, k) = method.draw(X, I, *samples, average=average, seed=3).terms
    assert k is not None
    v, w = X.network, average.network
    assert isinstance(v, Network)
    assert isinstance(w, Network)
    x = I(k.s, k.x0, k.x1)
    return flat_gradient(squares(LOSSES[name][0](v, w, k, x)).mean(), X)


def ours(name: str, X: LearnedMap, average: FlowMap | None, samples: tuple[Tensor, Tensor]) -> Tensor:
    method = get_method(name, form="map", eta=0.0, ema_teacher=average is not None)
    return gradient(method, X, I, samples, average=average)  # type: ignore[arg-type]


def path(count: int, seed: int) -> list[LearnedMap]:
    """A student at successive steps of a training."""
    students = [random_map(seed)]
    for k in range(1, count):
        students.append(copy.deepcopy(students[-1]))
        with torch.no_grad():
            for i, p in enumerate(students[-1].parameters()):
                p.add_(0.1 * normal(seed + 10 * k + i, *p.shape))
    return students


def averaged(students: list[LearnedMap], delta: float) -> LearnedMap:
    r"""$\phi_k$ by the sum over the whole path."""
    result, last = copy.deepcopy(students[0]), len(students) - 1
    weights = [delta**last, *((1 - delta) * delta ** (last - j) for j in range(1, last + 1))]
    with torch.no_grad():
        for parts in zip(result.parameters(), *(student.parameters() for student in students), strict=True):
            parts[0].copy_(sum((w * p for w, p in zip(weights, parts[1:], strict=True)), torch.zeros_like(parts[0])))
    return result


@pytest.mark.parametrize("delta", [0.5, 0.99])
@EVERY
def test_the_gradient_holds_the_parameters_of_the_average(check: Check, name: str, delta: float) -> None:
    students, samples = path(5, seed=1), batch(1)
    X, average = students[-1], averaged(students, delta)
    agree(check, ours(name, X, average, samples), by_hand(name, X, average, samples), LOSSES[name][1])
    differ(ours(name, X, average, samples), ours(name, X, None, samples))


@EVERY
def test_without_memory_it_is_the_recommendation(check: Check, name: str) -> None:
    students, samples = path(4, seed=2), batch(2)
    agree(check, ours(name, students[-1], averaged(students, 0.0), samples), ours(name, students[-1], None, samples))
    fixed = averaged(students, 1.0)
    agree(check, ours(name, students[-1], fixed, samples), ours(name, students[-1], students[0], samples))


@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_the_average_of_a_training_is_the_sum(check: Check, delta: float) -> None:
    """The library's recursion, beyond the steps at which its memory is shorter still, against the sum over the path."""
    students = path(6, seed=3)
    averages, late = Averages(students[0], [delta]), 100
    for k, student in enumerate(students[1:]):
        averages.update(student, late + k)
    state, expected = averages.state(averages.names[0]), averaged(students, delta)
    for name, p in expected.named_parameters():
        check.vanishes(state[name] - p.detach(), CLOSED_FORM)


@pytest.mark.parametrize("edge", [EDGES[name] for name in ("equal times", "a batch of one", "image-shaped states")])
@EVERY
def test_at_the_edges(check: Check, name: str, edge: Edge) -> None:
    X, average = (random_map(seed, edge.event) for seed in (4, 5))
    samples = batch(4, edge.n, edge.event)
    agree(check, ours(name, X, average, samples), by_hand(name, X, average, samples), LOSSES[name][1])


@EVERY
def test_negative_control(check: Check, name: str) -> None:
    r"""An average off by $\epsilon$ is seen in proportion."""
    students, samples = path(3, seed=6), batch(6)
    X, average = students[-1], averaged(students, 0.5)
    expected = by_hand(name, X, average, samples)

    def off(epsilon: float) -> Tensor:
        near = copy.deepcopy(average)
        with torch.no_grad():
            for i, p in enumerate(near.parameters()):
                p.add_(epsilon * normal(30 + i, *p.shape))
        return (ours(name, X, near, samples) - expected) / expected.norm()

    check.sees(off(1e-3), off(5e-4), DIFFERENCED)
