"""Sums, multiples, differences and the reversed clock of velocity fields; guidance."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField, guided
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, mild, normal, over, uniform


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_fields_form_a_vector_space(event: tuple[int, ...], batch: int) -> None:
    a, b, t, x = Coupled(event), Cubic(), uniform(batch), normal(batch, *event, seed=1)
    c = normal(batch, seed=2)
    at, bt = a(t, x), b(t, x)
    assert_close((a + b)(t, x), at + bt)
    assert_close((a - b)(t, x), at - bt)
    assert_close((-b)(t, x), -bt)
    assert_close((2.5 * b)(t, x), 2.5 * bt)
    assert_close((b * 2.5)(t, x), 2.5 * bt)
    assert_close((c * b)(t, x), torch.stack([ci * bi for ci, bi in zip(c, bt, strict=True)]) if batch else bt)
    assert_close((2.0 * (a + 3.0 * b) - a)(t, x), at + 6 * bt)


@pytest.mark.usefixtures("unchecked")  # the annotation of a factor names neither int nor the numbers of NumPy
@pytest.mark.parametrize("factor", [2, 2.0, np.float64(2), np.int64(2), torch.tensor(2.0), torch.tensor(2.0).double()])
def test_every_kind_of_number_is_a_factor(factor: Any) -> None:
    x = normal(3, 2, dtype=torch.float32)
    for field in (factor * Cubic(), Cubic() * factor):
        value = field(0.5, x)
        assert value.dtype == torch.float32
        assert_close(value, -1.5 * x**3)


def test_derivatives_pass_through_the_algebra() -> None:
    a, b, t, x, u = Coupled((3,)), Cubic(), uniform(4), normal(4, 3, seed=1), normal(4, 3, seed=2)
    field = a - uniform(4, seed=3) * b
    J = field.jacobian(t, x)
    assert_close(
        J, a.jacobian(t, x) - uniform(4, seed=3)[:, None, None] * torch.diag_embed(-1.5 * over(1 + t, x) * x**2)
    )
    assert_close(field.jvp(t, x, u), torch.einsum("bij,bj->bi", J, u))
    assert_close(field.divergence(t, x), torch.einsum("bii->b", J))
    assert_close((-b).dt(t, x), 0.5 * x**3)


def test_gradients_reach_a_factor() -> None:
    c, x = normal(4).requires_grad_(), normal(4, 3)
    (gradient,) = torch.autograd.grad((c * Cubic())(0.0, x).sum(), c)
    assert_close(gradient, (-0.5 * x**3).sum(1))


def test_parameters_of_both_fields_are_registered() -> None:
    a, b = Coupled((2,)), Coupled((2,), seed=5)
    assert [id(p) for p in (a - b).parameters()] == [id(p) for p in (*a.parameters(), *b.parameters())]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("factor", "error", "sentence"),
    [
        ("2", TypeError, "`c` must be a number or a tensor, got str; pass a float."),
        (float("nan"), ValueError, "`c` must be finite, got nan; pass a finite number."),
        (
            torch.ones(2, 2),
            ValueError,
            "`c` must be a number or a floating tensor of shape [] or [batch], got torch.float32",
        ),
        (
            torch.ones(2).long(),
            ValueError,
            "`c` must be a number or a floating tensor of shape [] or [batch], got torch.int64",
        ),
    ],
)
def test_a_factor_that_is_none_is_refused(factor: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        Cubic() * factor
    with pytest.raises(error, match=re.escape(sentence.replace("`c`", "`scale`"))):
        guided(Cubic(), Cubic(), factor)


def test_a_factor_of_another_batch_is_refused() -> None:
    sentence = (
        "`factor` must be a scalar or hold one entry per sample, 4, got shape [3]; pass a condition of the batch's"
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        (torch.ones(3) * Cubic())(0.5, torch.ones(4, 2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("other", [1.0, "b", None, torch.ones(2)])
def test_only_fields_are_added(other: Any) -> None:
    for operation in (lambda: Cubic() + other, lambda: Cubic() - other):
        with pytest.raises(TypeError, match="unsupported operand"):
            operation()


@pytest.mark.usefixtures("unchecked")
def test_fields_are_not_multiplied() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Cubic() * Cubic()  # type: ignore[operator]


class TestReversed:
    def test_the_clock_runs_backward(self) -> None:
        t, x = uniform(4), normal(4, 3, seed=1)
        assert_close(Cubic().reversed()(t, x), 0.5 * over(2 - t, x) * x**3)
        assert_close(Cubic().reversed()(1, x), 0.5 * x**3)

    def test_twice_reversed_is_the_field_itself(self) -> None:
        b = Cubic()
        assert b.reversed().reversed() is b

    def test_its_flow_runs_between_mirrored_times(self) -> None:
        s, t, x = uniform(4), uniform(4, seed=1), mild(4, 3, seed=2)
        reversed_flow = SolutionOperator(Cubic().reversed())
        assert_close(reversed_flow(s, t, x), CubicFlow()(1 - s, 1 - t, x), rtol=1e-8, atol=1e-8)

    def test_its_derivative_in_time(self) -> None:
        t, x = uniform(4), normal(4, 3, seed=1)
        assert_close(Cubic().reversed().dt(t, x), -0.5 * x**3)


class TestGuidance:
    def test_it_extrapolates_from_the_unconditional_field(self) -> None:
        conditional, unconditional = Cubic(), Coupled((3,))
        t, x = uniform(4), normal(4, 3, seed=1)
        for w in (0.0, 1.0, -0.5, 3.0):
            expected = (1 - w) * unconditional(t, x) + w * conditional(t, x)
            assert_close(guided(conditional, unconditional, w)(t, x), expected)
            assert_close(guided(conditional, unconditional, torch.tensor(w).double())(t, x), expected)

    def test_one_scale_per_sample(self) -> None:
        w, t, x = torch.tensor([0.0, 1.0, 2.0]).double(), uniform(3), normal(3, 3, seed=1)
        together = guided(Cubic(), Coupled((3,)), w)(t, x)
        for i in range(3):
            row = slice(i, i + 1)
            assert_close(together[row], guided(Cubic(), Coupled((3,)), w[i].item())(t[row], x[row]))

    @pytest.mark.parametrize("w", [2.5, torch.tensor([0.0, 1.5, 2.0]).double()], ids=["number", "per sample"])
    def test_in_an_interval_the_scale_is_one_outside(self, w: float | Tensor) -> None:
        conditional, unconditional = Cubic(), Coupled((3,))
        t, x = torch.tensor([0.1, 0.2, 0.8], dtype=torch.float64), normal(3, 3, seed=1)
        found = guided(conditional, unconditional, w, (0.2, 0.5))(t, x)
        inside = (t == 0.2)[:, None]  # the end belongs to it
        assert_close(found, torch.where(inside, guided(conditional, unconditional, w)(t, x), conditional(t, x)))

    @pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2)])
    def test_an_interval_must_increase(self, interval: tuple[float, float]) -> None:
        sentence = f"`interval` must be two increasing times, got {interval}; pass (0.1, 0.9), say."
        with pytest.raises(ValueError, match=re.escape(sentence)):
            guided(Cubic(), Cubic(), 2.0, interval)

    def test_a_single_precision_field_stays_so(self) -> None:
        x = normal(3, 3, dtype=torch.float32)
        assert guided(Cubic(), Cubic(), torch.ones(3).double())(0.5, x).dtype == torch.float32
        assert guided(Cubic(), Cubic(), 2.0, (0.2, 0.8))(0.5, x).dtype == torch.float32

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("other", [lambda _, x: x, None, 1.0, CubicFlow()])
    def test_both_must_be_fields(self, other: Any) -> None:
        sentence = f"must be a VelocityField, got {type(other).__name__}; wrap it with VelocityField.from_function."
        with pytest.raises(TypeError, match=re.escape("`b_cond` " + sentence)):
            guided(other, Cubic(), 1.0)
        with pytest.raises(TypeError, match=re.escape("`b_uncond` " + sentence)):
            guided(Cubic(), other, 1.0)

    def test_equal_fields_need_no_guidance(self) -> None:
        b = Coupled((3,))
        field: VelocityField = guided(b, b, 7.0)
        x: Tensor = normal(4, 3)
        assert_close(field(0.3, x), b(0.3, x))
