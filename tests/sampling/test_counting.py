"""Counting evaluations of networks."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from flowops import LearnedMap, VelocityField, guided
from flowops.sampling import CountedField, CountedMap, sample
from flowops.sampling.cost import leaves
from flowops.sampling.grids import uniform
from tests.examples import normal
from tests.methods.rows import Network


def test_a_guided_field_costs_two_and_a_sum_what_its_parts_cost() -> None:
    b = VelocityField.from_function(lambda _, x: -x)
    assert leaves(b) == 1
    assert leaves(guided(b, b, 2.0)) == 2
    assert leaves(guided(b, b, 2.0) + b) == 3
    assert leaves(LearnedMap(Network((2,))).velocity()) == 1
    assert leaves(torch.nn.Linear(2, 2)) == 0


def test_calls_are_counted_by_sample_and_through_copies() -> None:
    X = LearnedMap(Network((2,)))
    counted, x0 = CountedMap(X), normal(5, 2)
    labelled = counted.given(label=torch.zeros(5, dtype=torch.long))
    assert_close(sample(labelled, x0, uniform(4), chunk=2), sample(X.given(label=torch.tensor(0)), x0, uniform(4)))
    assert counted.count.evaluations == 5 * 4
    field = CountedField(guided(X.velocity(), X.velocity(), 2.0))
    assert_close(field(0.5, x0), X.velocity()(0.5, x0))
    assert field.count.evaluations == 5 * 2
