"""Guided maps: between and beyond two maps, with the guided field on the diagonal, and not the flow of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, guided
from flowops.maps import GuidedMap
from tests.examples import CubicFlow, TwoTimeNetwork, mild, normal, over, uniform


class LabelledFlow(FlowMap):
    def forward(self, s: Tensor, t: Tensor, x: Tensor, *, label: Tensor | float = 0.0) -> Tensor:
        return x * torch.exp(over((t - s) * label, x))


A, B = LearnedMap(TwoTimeNetwork((3,))), LearnedMap(TwoTimeNetwork((3,), seed=5))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_it_lies_on_the_line_through_both(scale: float) -> None:
    s, t, x = uniform(4), uniform(4, seed=1), normal(4, 3)
    expected = (1 - scale) * B(s, t, x) + scale * A(s, t, x)
    assert_close(GuidedMap(A, B, scale)(s, t, x), expected)


def test_it_has_the_guided_field_on_its_diagonal_and_is_the_identity_there() -> None:
    X, t, x = GuidedMap(A, B, 2.5), uniform(4), normal(4, 3)
    assert_close(X(t, t, x), x)
    assert_close(X.velocity()(t, x), guided(A.velocity(), B.velocity(), 2.5)(t, x))


def test_it_is_not_the_flow_of_the_guided_field() -> None:
    exact = CubicFlow()
    X, x = GuidedMap(exact, FlowMap.from_function(lambda _s, _t, x: x), 2.0), mild(4, 3)
    b = X.velocity()
    assert (b.flow_map()(0.0, 1.0, x) - X(0.0, 1.0, x)).abs().max() > 1e-3
    assert_close(b.flow_map()(0.0, 1e-4, x), X(0.0, 1e-4, x), rtol=0, atol=1e-7)


def test_conditions_reach_the_conditional_map_only() -> None:
    X, x = GuidedMap(LabelledFlow(), LabelledFlow(), 2.0), normal(4, 3)
    labels = uniform(4)
    expected = 2 * x * labels.exp()[:, None] - x
    assert_close(X.given(label=labels)(0.0, 1.0, x), expected)
    assert_close(X(0.0, 1.0, x), x)
