"""Labels and guidance of samples: which map and which field carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap, interpolants
from flowops.networks import MLP
from flowops.sampling import Conditioning, Plan, Way, labels_of
from tests.examples import normal
from tests.methods.rows import WITH_LABELS, learned

CLASSES = ("zero", "one", "two")
LABELS = torch.tensor([0, 2, 1, 1])
PLAN = Plan((0.0, 0.3, 1.0))


class Scaled(nn.Module):
    """An average velocity of a label and of a guidance scale."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        scale = torch.ones_like(s) if guidance is None else guidance
        return torch.sin(x + (s + 2 * t + label)[:, None]) * scale[:, None]


def test_without_labels_it_is_the_map_itself() -> None:
    X, x = learned(), normal(4, 2)
    plain = Conditioning(X)
    assert plain.map() is X
    assert_close(plain.field()(0.3, x), X.velocity()(0.3, x))


def test_labels_without_guidance_condition_the_map() -> None:
    X, x = learned(), normal(4, 2)
    conditioning = Conditioning(X, LABELS)
    assert_close(conditioning.map()(0.2, 0.9, x), X.given(label=LABELS)(0.2, 0.9, x))
    assert_close(conditioning.field()(0.3, x), X.velocity().given(label=LABELS)(0.3, x))


def test_the_guided_field_is_exact_and_stands_on_the_diagonal_of_the_guided_map() -> None:
    X, x, w = learned(), normal(4, 2), 2.5
    conditioning = Conditioning(X, LABELS, w, WITH_LABELS)
    labelled, null = (X.given(label=label) for label in (LABELS, torch.full_like(LABELS, WITH_LABELS)))
    one, other = labelled.velocity()(0.3, x), null.velocity()(0.3, x)
    assert_close(conditioning.field()(0.3, x), other + w * (one - other))
    assert_close(conditioning.map().velocity()(0.3, x), conditioning.field()(0.3, x))
    one, other = labelled(0.2, 0.9, x), null(0.2, 0.9, x)
    assert_close(conditioning.map()(0.2, 0.9, x), other + w * (one - other))
    assert not torch.allclose(conditioning.map()(0.2, 0.9, x), one)


class Fused(torch.autograd.Function):
    """A sine that forward mode refuses, as a fused kernel does."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.sin()


class Opaque(nn.Module):
    """An average velocity of a label that has no forward-mode derivative."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return Fused.apply(x + (s + 2 * t + label)[:, None])


def test_the_guided_field_is_made_of_two_values_and_no_derivative() -> None:
    x = normal(4, 2)
    guided = Conditioning(LearnedMap(Opaque()), LABELS, 2.5, 3)
    one, other = (torch.sin(x + 0.9 + label[:, None].double()) for label in (LABELS, torch.full((4,), 3)))
    assert_close(guided.field()(0.3, x), other + 2.5 * (one - other))
    with pytest.raises(RuntimeError, match="autograd.Function with functorch"):
        guided.map().velocity()(0.3, x)


def test_a_network_that_was_told_the_scale_is_asked_once() -> None:
    X, x = LearnedMap(Scaled()), normal(4, 2, dtype=torch.float32)
    conditioning = Conditioning(X, LABELS, 2.5, 3)
    assert conditioning.learned
    assert not Conditioning(learned(), LABELS, 2.5, 3).learned
    told = X.given(label=LABELS, guidance=torch.full((4,), 2.5))
    assert_close(conditioning.map()(0.2, 0.9, x), told(0.2, 0.9, x))
    assert_close(conditioning.field()(0.3, x), told.velocity()(0.3, x))
    assert not torch.allclose(told(0.2, 0.9, x), X.given(label=LABELS)(0.2, 0.9, x))


class InIntervals(Scaled):
    """One that is told an interval too."""

    def forward(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor | None = None, interval: Any = None
    ) -> Tensor:
        return super().forward(s, t, x, label, guidance) + (0 if interval is None else interval.sum(1, keepdim=True))


@pytest.mark.parametrize("network", [Scaled, None])
def test_in_an_interval_a_map_that_is_told_none_goes_in_three_parts(network: type[Scaled] | None) -> None:
    X = learned() if network is None else LearnedMap(network())
    x = normal(4, 2, dtype=torch.float64 if network is None else torch.float32)
    inside, outside = (Conditioning(X, LABELS, w, WITH_LABELS) for w in (2.5, 1.0))
    guided = Conditioning(X, LABELS, 2.5, WITH_LABELS, (0.3, 0.6))
    parts = outside.map()(0.6, 1.0, inside.map()(0.3, 0.6, outside.map()(0.0, 0.3, x)))
    assert_close(guided.map()(0.0, 1.0, x), parts)
    for t, wanted in ((0.2, outside), (0.45, inside), (0.7, outside)):
        assert_close(guided.field()(t, x), wanted.field()(t, x))
        assert_close(guided.map().velocity()(t, x), wanted.field()(t, x))
    rows = torch.tensor([3, 1])
    assert_close(guided.subset(rows).map()(0.0, 1.0, x[rows]), parts[rows])


def test_a_network_that_was_told_intervals_is_asked_once() -> None:
    X, x = LearnedMap(InIntervals()), normal(4, 2, dtype=torch.float32)
    told = X.given(label=LABELS, guidance=torch.full((4,), 2.5), interval=torch.tensor([[0.3, 0.6]] * 4))
    found = Conditioning(X, LABELS, 2.5, 3, (0.3, 0.6))
    assert_close(found.map()(0.2, 0.9, x), told(0.2, 0.9, x))
    assert_close(found.field()(0.4, x), told.velocity()(0.4, x))
    whole = told.given(interval=torch.tensor([[0.0, 1.0]] * 4))
    assert_close(Conditioning(X, LABELS, 2.5, 3).map()(0.2, 0.9, x), whole(0.2, 0.9, x))


def test_one_label_stands_for_any_number_of_samples_beside_guidance_and_an_interval() -> None:
    network = MLP(2, width=8, depth=1, labels=4, guidance=True, interval=True)
    X, rows = LearnedMap(network).requires_grad_(False), torch.full((4,), 2)
    whole = Conditioning(X, rows, 2.5, 3, (0.3, 0.6))
    alone = whole.subset(torch.tensor(0))
    for n in (1, 2, 4):
        x = normal(n, 2, dtype=torch.float32)
        assert_close(alone.map()(0.2, 0.9, x), whole.subset(rows[:n]).map()(0.2, 0.9, x))


def test_an_interval_is_of_guidance_and_increases() -> None:
    with pytest.raises(ValueError, match=r"`interval` must be None without guidance, got \(0.3, 0.6\)"):
        Conditioning(learned(), LABELS, interval=(0.3, 0.6))
    with pytest.raises(ValueError, match=r"`interval` must be two increasing times, got \(0.6, 0.3\)"):
        Conditioning(learned(), LABELS, 2.0, 3, (0.6, 0.3))


@pytest.mark.parametrize("guidance", [None, 2.0])
def test_a_subset_keeps_the_labels_of_its_samples(guidance: float | None) -> None:
    conditioning, x, rows = Conditioning(learned(), LABELS, guidance, WITH_LABELS), normal(4, 2), torch.tensor([3, 1])
    whole, some = conditioning.map()(0.0, 1.0, x), conditioning.subset(rows).map()(0.0, 1.0, x[rows])
    assert_close(some, whole[rows])
    assert not torch.allclose(some, whole[:2])


@pytest.mark.parametrize(
    ("n", "label", "found"),
    [(5, None, [0, 1, 2, 0, 1]), (3, 2, [2, 2, 2]), (3, [2, 0, 1], [2, 0, 1]), (2, [1], [1, 1])],
)
def test_labels_are_one_class_one_per_sample_or_all_in_turn(
    n: int, label: int | list[int] | None, found: list[int]
) -> None:
    labels = labels_of(n, CLASSES, label, None)
    assert labels is not None
    assert labels.tolist() == found


def test_classes_are_a_tensor_of_whole_numbers_too() -> None:
    for label in (torch.tensor([2, 0, 1]), torch.tensor([2, 0, 1], dtype=torch.uint8)):
        assert_close(labels_of(3, CLASSES, label, None), torch.tensor([2, 0, 1]))
    assert_close(labels_of(3, CLASSES, torch.tensor(2), None), torch.tensor([2, 2, 2]))
    with pytest.raises(TypeError, match="`label` must be a class or one per sample, whole numbers, got tensor"):
        labels_of(3, CLASSES, torch.tensor([2.0, 0.0, 1.0]), None)


def test_at_scale_one_a_network_that_is_told_intervals_is_told_all_times() -> None:
    X = LearnedMap(MLP(2, width=8, labels=3, guidance=True, interval=True))
    x = normal(4, 2, dtype=torch.float32)

    def end(scale: float, interval: tuple[float, float] | None) -> Tensor:
        return Conditioning(X, LABELS, scale, 3, interval).map()(0.1, 0.9, x)

    assert torch.equal(end(1.0, (0.3, 0.8)), end(1.0, None))
    assert not torch.allclose(end(2.0, (0.3, 0.8)), end(2.0, None))


def test_without_classes_there_are_no_labels() -> None:
    assert labels_of(4, (), None, None) is None


@pytest.mark.parametrize(
    ("classes", "label", "guidance", "message"),
    [
        ((), 1, None, "`label` must not be given for a map that was trained without labels"),
        ((), None, 2.0, "`guidance` must not be given for a map that was trained without labels"),
        (CLASSES, 3, None, r"`label` must be a class between 0 and 2 \(zero, one, two\), got 3"),
        (CLASSES, [0, -1], None, "between 0 and 2 .* got -1"),
        (CLASSES, [0, 1, 2], None, "`label` must be one class or 2 of them, one per sample, got 3"),
    ],
)
def test_what_is_no_class_is_refused(
    classes: Sequence[str], label: int | list[int] | None, guidance: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        labels_of(2, classes, label, guidance)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"solver": "heun", "steps": 0}, "`steps` must be a whole number of at least 1, got 0"),
        ({"solver": "heun", "grid": [0.0, 0.5]}, "`grid` must run from 0 to 1, got 0 to 0.5"),
        ({"solver": "heun", "grid": [0.0, 0.5, 0.5, 1.0]}, "`grid` must increase strictly"),
        ({"solver": "dopri5", "tolerance": -1.0}, "`tolerance` must be positive, got -1.0"),
        ({"solver": "dopri5", "tolerance": float("nan")}, "`tolerance` must be finite"),
        ({"steps": 0}, "`steps` must be a whole number of at least 1, got 0"),
        ({"grid": [0.0, 0.5]}, "`grid` must run from 0 to 1, got 0 to 0.5"),
        ({"tolerance": 0.0}, "`tolerance` must be positive, got 0.0"),
        ({"tolerance": 0.1, "steps": 4}, "`tolerance` and `steps` must not be given together, since a tolerance"),
        ({"tolerance": 0.1, "grid": [0.0, 1.0]}, "`tolerance` and `grid` must not be given together"),
        ({"tolerance": 0.1, "gamma": 0.5}, "`tolerance` and `gamma` must not be given together"),
        ({"tolerance": 0.1, "restart": (0.2, 0.7, 2)}, "`tolerance` and `restart` must not be given together"),
        ({"plan": PLAN, "steps": 4}, "`plan` and `steps` must not be given together, since a plan says all steps"),
        ({"plan": PLAN, "tolerance": 0.1}, "`plan` and `tolerance` must not be given together"),
        ({"plan": PLAN, "solver": "heun", "steps": 1}, "`plan` must not be given to a solver, got it for heun"),
    ],
)
def test_times_and_tolerances_are_looked_at_before_there_are_states(way: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Way(**way).sampler(interpolants.linear())


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ({}, "map, 1 step"),
        ({"grid": [0.0, 0.5, 1.0]}, "map, 2 steps"),
        ({"solver": "heun", "steps": 1}, "heun, 1 step"),
        ({"solver": "heun", "grid": [0.0, 0.5, 1.0]}, "heun, 2 steps"),
        ({"solver": "dopri5"}, "dopri5"),
        ({"tolerance": 0.01}, "map, tolerance 0.01"),
        ({"plan": PLAN}, "map, 2 steps"),
        ({"plan": Plan((0.0, 1.0), 0.1, 3)}, "map, 1 step halved to 0.1"),
    ],
)
def test_a_sampler_is_called_by_its_steps(way: dict[str, Any], name: str) -> None:
    assert Way(**way).sampler(interpolants.linear())[0] == name


def test_a_plan_is_no_tolerance() -> None:
    with pytest.raises(TypeError, match=r"`plan` must be a Plan, got float; pass calibration\.plan\(0\.03\)"):
        Way(plan=0.1).sampler(interpolants.linear())  # type: ignore[arg-type]
