r"""The exponential average of a map is the constant side of its loss, beside a teacher where there is one.

With `ema_teacher=True` the right side is that of the average $\bar X$, nothing else is: `cd` and `ctm` follow their
teacher's field to $u$ and compare with $\bar X$ there; `ctm` sees both sides through $\bar X_{t,1}$; self-distillation
takes the field of $\bar X$. Gradients on random networks, against formulas written down from the networks alone. An
average that equals the map changes nothing; one that is off by $\delta$ changes the gradient by $O(\delta)$; neither
the average nor the teacher is trained.

Source: 2303.01469 Algs. 2, 3; 2310.02279; 2505.18825 (94), Algs. 2-4; 2410.12557.
"""

from __future__ import annotations

import copy

import pytest

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField, interpolants
from flowops.methods import METHODS, Method, get_method
from theory_checks.by_hand import FORMULAS, by_hand
from theory_checks.controls import Perturbed
from theory_checks.gradients import EDGES, SAME, Edge, agree, batch, differ, gradient, random_map
from theory_checks.method_cases import defaults_of
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
B = SmoothField((2,), seed=6)
AVERAGED = [  # of joint maps see test_joint_map.py
    name for name, method in METHODS.items() if "ema_teacher" in defaults_of(method.row) and not method.joint
]
FORMS = [pytest.param(name, form, id=f"{name} {form}".strip()) for name in AVERAGED for form in METHODS[name].row.forms]
EVERY = pytest.mark.parametrize(("name", "form"), FORMS)


def averaged(name: str, form: str) -> Method:
    """The row with an average, flow matching on half the batch where it has that part."""
    eta = {"eta": 0.5} if "eta" in defaults_of(METHODS[name].row) else {}
    return get_method(name, ema_teacher=True, **({"form": form} if form else {}), **eta)


def teachers(name: str, event: tuple[int, ...] = (2,)) -> list[VelocityField | None]:
    """The teachers that a row can have."""
    kind = METHODS[name].row.teacher
    found: list[VelocityField | None] = [SmoothField(event, seed=6)] if kind else []
    return found if kind == "field" else [None, *found]


def test_the_rows_with_an_average_are_known() -> None:
    assert set(AVERAGED) >= {"cd", "ct", "ctm", "lsd", "esd", "psd-u", "psd-m", "split-meanflow", "shortcut"}
    assert [name for name in AVERAGED if METHODS[name].row.teacher] == ["ctm", "cd"]


@EVERY
def test_an_average_equal_to_the_map_changes_nothing(check: Check, name: str, form: str) -> None:
    X, samples, method = random_map(2), batch(2), averaged(name, form)
    for b in teachers(name):
        own = gradient(method.with_options(ema_teacher=False), X, I, samples, teacher=b)
        agree(check, gradient(method, X, I, samples, teacher=b, average=copy.deepcopy(X)), own)


@EVERY
def test_the_constant_side_is_that_of_the_average(interpolant: Interpolant, check: Check, name: str, form: str) -> None:
    X, Y, samples, method = random_map(3), random_map(4), batch(3), averaged(name, form)
    for b in teachers(name):
        draw = method.draw(X, interpolant, *samples, teacher=b, average=Y, seed=3)
        expected = by_hand(FORMULAS[name, form], X, interpolant, draw, teacher=b, average=Y)
        agree(check, gradient(method, X, interpolant, samples, teacher=b, average=Y), expected)


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@EVERY
def test_at_the_edges(check: Check, name: str, form: str, edge: Edge) -> None:
    X, Y = (random_map(seed, edge.event).to(edge.dtype) for seed in (5, 6))
    samples, method = batch(5, edge.n, edge.event, edge.dtype), averaged(name, form)
    if edge.law is not None or edge.n == 1:  # all samples off the diagonal's part
        method = method.with_options(law=edge.law, **({"eta": 0.0} if "eta" in defaults_of(method.row) else {}))
    for b in teachers(name, edge.event):
        draw = method.draw(X, I, *samples, teacher=b, average=Y, seed=3)
        expected = by_hand(FORMULAS[name, form], X, I, draw, teacher=b, average=Y)
        ours = gradient(method, X, I, samples, teacher=b, average=Y)
        assert ours.dtype == edge.dtype
        agree(check, ours, expected, edge.tolerance)


@EVERY
def test_only_the_map_is_trained(name: str, form: str) -> None:
    X, Y, method = random_map(7), random_map(8), averaged(name, form)
    for b in teachers(name):
        method(X, I, *batch(7), teacher=b, average=Y, seed=3).loss.backward()
        assert all(p.grad is not None for p in X.parameters())
        for held in (Y, b):
            assert held is None or all(p.grad is None for p in held.parameters())


def beside(X: LearnedMap, delta: float) -> FlowMap:
    """An average that is off by `delta` times a map of no meaning."""
    return Perturbed(copy.deepcopy(X), delta)


@EVERY
def test_negative_control(check: Check, name: str, form: str) -> None:
    """The average off by delta is seen, and so is another map in its place."""
    X, samples, method = random_map(9), batch(9), averaged(name, form)
    for b in teachers(name):
        own = gradient(method, X, I, samples, teacher=b, average=copy.deepcopy(X))
        wrong, half = (
            (gradient(method, X, I, samples, teacher=b, average=beside(X, delta)) - own) / own.norm()
            for delta in (1e-2, 5e-3)
        )
        check.sees(wrong, half, SAME)
        differ(own, gradient(method, X, I, samples, teacher=b, average=random_map(10)))


@pytest.mark.parametrize("name", ["cd", "ctm"])
def test_teacher_and_average_do_not_stand_for_each_other(name: str) -> None:
    X, Y, samples = random_map(11), random_map(12), batch(11)
    method = get_method(name, ema_teacher=True, **({"eta": 0.0} if name == "ctm" else {}))
    ours = gradient(method, X, I, samples, teacher=B, average=Y)
    differ(ours, gradient(method, X, I, samples, teacher=Y.velocity(), average=X))
    differ(ours, gradient(method, X, I, samples, teacher=Y.velocity(), average=Y))
    differ(ours, gradient(method.with_options(ema_teacher=False), X, I, samples, teacher=B))
    with pytest.raises(TypeError, match="`average` must be a FlowMap"):
        method(X, I, *samples, teacher=B, seed=3)
