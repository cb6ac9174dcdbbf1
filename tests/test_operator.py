"""Conditioning is currying: what `given` reaches, shares and refuses."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, SolutionOperator, VelocityField, guided, reschedule
from flowops.fields import FrozenField, StoppedField, uncontrasted
from flowops.interpolants import linear, trigonometric
from flowops.maps import DifferencedMap, FrozenMap, GuidedMap, IntervalMap, SecondOrder, SolverStep, StagedMap
from tests.examples import Coupled, Cubic, CubicFlow, Labelled, TwoTimeNetwork, assert_near, normal, over, uniform

X0 = normal(6, 3)
LABELS, ZEROS = normal(6, seed=1), torch.zeros(6).double()


class LabelledFlow(FlowMap):
    def forward(self, s: Tensor, t: Tensor, x: Tensor, *, label: Tensor | float = 0.0) -> Tensor:
        return x * torch.exp(over((t - s) * label, x))


def test_a_condition_is_passed_to_forward() -> None:
    b, X = Labelled(), LabelledFlow()
    assert_close(b.given(label=2.0)(0.3, X0), 2 * X0)
    assert_close(b.given(label=LABELS)(0.3, X0), LABELS[:, None] * X0)
    assert_close(X.given(label=2.0)(0.0, 1.0, X0), X0 * torch.e**2)


def test_the_original_is_left_alone_and_the_last_condition_counts() -> None:
    b = Labelled()
    once = b.given(label=2.0)
    twice = once.given(label=3.0)
    for operator, factor in ((b, 0.0), (once, 2.0), (twice, 3.0)):
        assert_close(operator(0.3, X0), factor * X0)


def test_conditions_may_be_given_one_after_the_other() -> None:
    def field(_: Tensor, x: Tensor, *, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return scale * x + offset

    b = VelocityField.from_function(field)
    assert_close(b.given(scale=2.0).given(offset=1.0)(0.0, X0), 2 * X0 + 1)
    assert_close(b.given(scale=2.0, offset=1.0)(0.0, X0), 2 * X0 + 1)
    assert_close(b.given()(0.0, X0), X0)


def test_a_condition_need_not_be_a_number() -> None:
    b = VelocityField.from_function(lambda _, x, *, sign="plus": -x if sign == "minus" else x)
    assert_close(b.given(sign="minus")(0.0, X0), -X0)
    assert_close(b.given(sign=None)(0.0, X0), X0)


def test_parameters_and_state_dict_are_those_of_the_original() -> None:
    network = TwoTimeNetwork((3,))
    X = LearnedMap(network, SecondOrder(Coupled((3,))))
    conditioned = X.given(label=LABELS)
    assert list(conditioned.state_dict()) == list(X.state_dict())
    for (name, p), (other, q) in zip(X.named_parameters(), conditioned.named_parameters(), strict=True):
        assert name == other
        assert p is q
    with torch.no_grad():
        network.outward.mul_(2)
    assert_close(conditioned(0.2, 0.7, X0), X.given(label=LABELS)(0.2, 0.7, X0))
    conditioned(0.2, 0.7, X0).sum().backward()
    assert network.outward.grad is not None
    X.load_state_dict(conditioned.state_dict())


def test_conditions_are_no_part_of_the_state_dict() -> None:
    assert not Labelled().given(label=LABELS).state_dict()
    assert not (LABELS * Cubic()).state_dict()


def test_a_deep_copy_keeps_the_conditions_and_shares_nothing() -> None:
    X = LearnedMap(TwoTimeNetwork((3,))).given(label=1.0)
    copied = copy.deepcopy(X)
    assert_close(copied(0.0, 1.0, X0), X(0.0, 1.0, X0))
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in X.parameters()}


def operators_with_a_labelled_part() -> dict[str, Any]:
    b, X = Labelled(), LabelledFlow()
    rk4 = SolutionOperator(b, method="rk4", steps=8)
    old, new = linear(), trigonometric()
    return {
        "a function": (VelocityField.from_function(lambda _, x, label=ZEROS: over(label, x) * x), 1),
        "a function of anything": (
            VelocityField.from_function(lambda _, x, **kw: over(kw.get("label", ZEROS), x) * x),
            1,
        ),
        "a module": (FlowMap.from_function(TwoTimeNetwork((3,))), 2),
        "a sum": (Cubic() + b, 1),
        "a multiple": (2.0 * b, 1),
        "a difference": (Cubic() - b, 1),
        "the reversed field": (b.reversed(), 1),
        "a guided field": (guided(b, Cubic(), 1.5), 1),
        "a frozen field": (FrozenField(b), 1),
        "a stopped field": (StoppedField(b), 1),
        "a field without its contrast": (uncontrasted(b, old, torch.zeros(3), torch.ones(3), 0.5), 1),
        "a solution operator": (rk4, 2),
        "a frozen map": (FrozenMap(X), 2),
        "a differenced map": (DifferencedMap(X), 2),
        "a guided map": (GuidedMap(X, FlowMap.from_function(lambda _s, _t, x: x), 1.5), 2),
        "a map in an interval": (IntervalMap(X, X, (0.2, 0.6)), 2),
        "a map of two stages": (StagedMap(X, X, 0.5), 2),
        "one step of a solver": (SolverStep(b, "midpoint"), 2),
        "an implied field": (X.velocity(), 1),
        "an implied field of a solution operator": (rk4.velocity(), 1),
        "a learned map": (LearnedMap(TwoTimeNetwork((3,))), 2),
        "the field of a learned map": (LearnedMap(TwoTimeNetwork((3,))).velocity(), 1),
        "the field inside a second-order map": (LearnedMap(Unlabelled(), SecondOrder(b)), 2),
        "a rescheduled field": (reschedule(b, old, new), 1),
        "a rescheduled map": (reschedule(X, old, new), 2),
        "a field in a container": (Container(b), 1),
    }


class Unlabelled(nn.Module):
    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x


class Container(VelocityField):
    """Holds its field two plain modules deep."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.fields = nn.ModuleList([nn.ModuleDict({"b": b})])

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.fields[0]["b"](t, x)  # type: ignore[index]


@pytest.mark.parametrize("name", operators_with_a_labelled_part())
def test_given_reaches_every_operator_inside(name: str) -> None:
    operator, times = operators_with_a_labelled_part()[name]
    arguments = (0.3, 0.8)[:times]
    together = operator.given(label=LABELS)(*arguments, X0)
    for i in range(len(X0)):
        assert_close(together[i : i + 1], operator.given(label=LABELS[i : i + 1])(*arguments, X0[i : i + 1]))
    assert not torch.allclose(together, operator(*arguments, X0))


@pytest.mark.parametrize("name", operators_with_a_labelled_part())
def test_a_name_that_no_forward_takes_is_refused(name: str) -> None:
    operator, _ = operators_with_a_labelled_part()[name]
    if name == "a function of anything":
        pytest.skip("it takes every name")
    for unknown in ("lable", "x", "t", "s", "factor", "scale"):
        with pytest.raises(TypeError) as refusal:
            operator.given(label=1.0, **{unknown: 1.0})
        assert str(refusal.value) == (
            f"`{unknown}` must be a condition that the forward of {type(operator).__name__} takes, and none does; "
            f"add it to the signature of that forward as a keyword argument."
        )


def test_operands_are_no_conditions() -> None:
    for operator in (Cubic(), CubicFlow(), VelocityField.from_function(lambda _, x: x)):
        with pytest.raises(TypeError, match="`x` must be a condition that the forward of"):
            operator.given(x=1.0)


def test_a_condition_goes_only_where_it_is_taken() -> None:
    class Plain(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return x

    b = VelocityField.from_function(Plain()) + VelocityField.from_function(lambda _, x: -x) + 3.0 * Labelled()
    assert_close(b.given(label=2.0)(0.5, X0), 6 * X0)


def test_a_builtin_takes_no_condition() -> None:
    b = VelocityField.from_function(torch.true_divide) + Labelled()
    with pytest.raises(TypeError, match="`lable` must be a condition"):
        b.given(lable=1.0)


def test_an_operator_wrapped_as_a_function_is_conditioned_once() -> None:
    assert_close(VelocityField.from_function(Labelled()).given(label=2.0)(0.0, X0), 2 * X0)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "inside a solution operator"])
def test_guidance_conditions_the_conditional_field_only(wrapped: bool) -> None:
    b = guided(Labelled(), Labelled(), 2.0)
    if wrapped:
        X = SolutionOperator(b + 0.0 * Cubic()).given(label=0.5)
        assert_close(X(0.0, 1.0, X0), torch.e * X0)  # twice the conditional field and no unconditional one
    else:
        assert_close(b.given(label=0.5)(0.0, X0), X0)


@pytest.mark.parametrize("labels", [torch.ones(5), torch.ones(1), torch.ones(5, 2)])
def test_a_condition_of_another_batch_is_refused(labels: Tensor) -> None:
    for operator, arguments in ((Labelled(), (0.0, X0)), (LabelledFlow(), (0.0, 1.0, X0))):
        sentence = f"`label` must be a scalar or hold one entry per sample, 6, got shape {list(labels.shape)}; pass a"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            operator.given(label=labels)(*arguments)


@pytest.mark.usefixtures("unchecked")  # the shape checks would take most of the time of these solves
@pytest.mark.parametrize("solver", [{}, {"method": "rk4", "steps": 6}], ids=["adaptive", "fixed steps"])
def test_per_sample_conditions_survive_sorting_and_chunks(solver: dict[str, Any]) -> None:
    s, t, factors = uniform(6, seed=3), uniform(6, seed=4), normal(6, seed=5)
    u = torch.ones(1, 3).double()

    def quantities(labels: Tensor | float, factor: Tensor | float, rows: slice, **chunk: Any) -> dict[str, Tensor]:
        b = (Labelled() + factor * VelocityField.from_function(lambda _, x: torch.sin(x))).given(label=labels)
        X, operands = SolutionOperator(b, **solver, **chunk), (s[rows], t[rows], X0[rows])
        return {
            "value": X(*operands),
            "jvp": X.jvp(*operands, u.expand(len(X0[rows]), 3)),
            "vjp": X.vjp(*operands, u.expand(len(X0[rows]), 3)),
            "log_abs_det": X.log_abs_det(*operands),
            "average_velocity": X.average_velocity(*operands),
            "log_prob": b.log_prob(X0[rows], t[rows], **solver, **chunk),
        }

    together = quantities(LABELS, factors, slice(None), chunk=2)
    for i in (0, 3, 5):
        for name, alone in quantities(LABELS[i].item(), factors[i].item(), slice(i, i + 1)).items():
            assert_near(together[name][i : i + 1], alone, 1e-8, name)
