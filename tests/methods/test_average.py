"""The exponential average of the map: which side it is, and that a teacher stays another operator beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import VelocityField, interpolants
from flowops.methods import METHODS, decay_of, get_method
from flowops.times import Doubling, Ladder
from tests.examples import normal
from tests.methods.rows import batch, call, gradient, learned, teacher_for

AVERAGED = [name for name, method in METHODS.items() if "ema_teacher" in {option.name for option in method.row.options}]
BOTH = ["cd", "ctm"]
I = interpolants.linear()


def heun(b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """One step of Heun's method."""
    h, first = (t - s)[:, None], b(s, x)
    return x + h / 2 * (first + b(t, x + h * first))


def composed(name: str, X: Any, average: Any, b: VelocityField, drawn: Any) -> Tensor:
    """The term along the teacher, a number per sample, from its operators one by one."""
    s, u, t = drawn.s, drawn.u, drawn.t
    x = torch.lerp(drawn.x0, drawn.x1, s[:, None])
    left, right = X(s, t, x), average(u, t, heun(b, s, u, x))
    if name == "ctm":
        left, right = (average(t, torch.ones_like(t), end) for end in (left, right))
    return (left - right.detach()).square().sum(1)


@pytest.mark.parametrize("name", BOTH)
def test_a_teacher_and_an_average_compose_as_written_by_hand(name: str) -> None:
    X, average, b = learned(), learned(seed=40), learned(seed=50).velocity()
    method = get_method(name, ema_teacher=True)
    draw = method.draw(X, I, *batch(6), teacher=b, average=average, seed=3)
    result = method.evaluate(X, I, draw, teacher=b, average=average)
    *others, last = draw.terms
    assert last is not None
    values = composed(name, X, average, b, last)
    assert_close(result.per_sample[last.rows], values)
    loss = values.sum() / 6
    if others:  # the part of the batch on the diagonal, where neither of the two enters
        loss = loss + METHODS["fm"].evaluate(X, I, draw._replace(terms=tuple(others))).loss
    assert_close(result.loss, loss)
    assert_close(gradient(result.loss, X), gradient(loss, X))


@pytest.mark.parametrize("name", BOTH)
def test_the_gradient_with_both_is_that_of_neither_alone(name: str) -> None:
    X, average, b, other = learned(), learned(seed=40), learned(seed=50).velocity(), learned(seed=60).velocity()
    both, teacher_alone = (
        gradient(call(get_method(name, ema_teacher=ema), X=X, teacher=b, average=average).loss, X)
        for ema in (True, False)
    )
    # the average without this teacher: along its own field where a row can do without a teacher, else along another
    alone = None if METHODS[name].row.teacher.startswith("optional") else other
    average_alone = gradient(call(get_method(name, ema_teacher=True), X=X, teacher=alone, average=average).loss, X)
    assert not torch.allclose(both, teacher_alone)
    assert not torch.allclose(both, average_alone)


@pytest.mark.parametrize("name", AVERAGED)
def test_an_average_equal_to_the_map_changes_nothing(name: str) -> None:
    X = learned()
    plain, averaged = (
        gradient(call(get_method(name, ema_teacher=ema), X=X, average=learned()).loss, X) for ema in (False, True)
    )
    other = gradient(call(get_method(name, ema_teacher=True), X=X, average=learned(seed=40)).loss, X)
    assert_close(plain, averaged)
    assert not torch.allclose(plain, other)


@pytest.mark.parametrize(("name", "form"), [("esd", "map"), ("esd", "velocity"), ("lsd", "velocity"), ("psd-m", "map")])
def test_the_frozen_side_is_wholly_that_of_the_average(name: str, form: str) -> None:
    X, average = learned(), learned(seed=40)
    options = {"eta": 0.0, "form": form}
    plain, swapped = (call(get_method(name, **options), X=Z) for Z in (X, average))
    mixed = call(get_method(name, **options, ema_teacher=True), X=X, average=average)
    x0, x1 = normal(6, 2, seed=5), 0.5 * normal(6, 2, seed=6) + 1
    x, s, t = torch.lerp(x0, x1, mixed.s[:, None]), mixed.s, mixed.t
    u = (s + t) / 2
    left = {"esd": X.ds(s, t, x), "lsd": X(s, t, x), "psd-m": X(s, t, x)}[name]
    if form == "velocity":
        left = X.average_velocity(s, t, x)
    b = average.velocity()
    right = {
        ("esd", "map"): -average.jvp(s, t, x, b(s, x)),
        ("esd", "velocity"): average.average_velocity(s, t, x) + average.material_derivative(s, t, x, b(s, x)),
        ("lsd", "velocity"): average.average_velocity(s, t, x) - average.dt(s, t, x) + b(t, average(s, t, x)),
        ("psd-m", "map"): average(u, t, average(s, u, x)),
    }[name, form]
    assert_close(mixed.per_sample, (left - right).square().sum(1))
    assert not torch.allclose(mixed.per_sample, plain.per_sample)
    assert not torch.allclose(mixed.per_sample, swapped.per_sample)


@pytest.mark.parametrize("name", AVERAGED)
def test_an_average_is_not_looked_at_unless_it_is_asked_for(name: str) -> None:
    plain, given = (call(METHODS[name], average=average).loss for average in (None, learned(seed=40)))
    assert_close(plain, given, rtol=0, atol=0)


@pytest.mark.parametrize("name", AVERAGED)
def test_an_average_gets_no_gradient(name: str) -> None:
    average = learned(seed=40)
    call(get_method(name, ema_teacher=True), average=average).loss.backward()
    assert all(p.grad is None for p in average.parameters())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize(("average", "got"), [(None, "NoneType"), (learned(seed=40).velocity(), "ImpliedVelocity")])
def test_an_average_that_is_missing_is_asked_for(name: str, average: Any, got: str) -> None:
    kind = "JointMap" if METHODS[name].joint else "FlowMap"
    with pytest.raises(TypeError, match=f"`average` must be a {kind} with ema_teacher=True, got {got}; pass the aver"):
        call(get_method(name, ema_teacher=True), average=average)


@pytest.mark.parametrize("name", AVERAGED)
def test_the_decay_of_an_average_of_ones_own_is_asked_of_the_row(name: str) -> None:
    assert decay_of(METHODS[name]) is None
    assert decay_of(get_method(name, ema_teacher=True)) is None
    decay = decay_of(get_method(name, ema_teacher=True, decay=0.5))
    assert decay is not None
    assert [decay(step) for step in (0, 7)] == [0.5, 0.5]
    with pytest.raises(ValueError, match="`decay` must be None where no average is looked at, got 0.5; pass ema_teach"):
        get_method(name, decay=0.5)


def test_the_decay_follows_a_ladder_that_grows() -> None:
    decay = decay_of(get_method("ct", law=Ladder(Doubling(3, 12, 30)), ema_teacher=True, decay=0.25))
    assert decay is not None
    powers = (1, 1, 4 / 7, 4 / 13, 4 / 13)
    assert [decay(step) for step in (0, 9, 10, 20, 99)] == pytest.approx([0.25**power for power in powers])


def test_an_average_is_no_teacher() -> None:
    with pytest.raises(TypeError, match="`teacher` must be a VelocityField for cd, got none"):
        call(get_method("cd", ema_teacher=True), teacher=None, average=learned(seed=40))
    with pytest.raises(TypeError, match="`average` must be a FlowMap"):
        call(get_method("lsd", ema_teacher=True), teacher=teacher_for(METHODS["pfmm"]))
