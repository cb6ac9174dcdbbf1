"""What is measured on trajectories: shapes, empty batches, dtypes, times and conditions per sample."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap
from flowops.maps import arc_length, curvature, lipschitz, principal_variances, straightness, tangent_norms, turning
from tests.examples import CubicFlow, TwoTimeNetwork, mild, uniform

Measure = Callable[..., Tensor]
MEASURES: dict[str, Measure] = {
    "arc_length": arc_length,
    "straightness": straightness,
    "turning": turning,
    "curvature": curvature,
    "lipschitz": lambda X, s, t, x: lipschitz(X, s, t, x, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("event", [(), (2,), (1, 2, 2)])
def test_there_is_one_number_a_sample(measure: Measure, batch: int, event: tuple[int, ...]) -> None:
    x = mild(batch, *event)
    assert measure(CubicFlow(), 0.2, 0.7, x).shape == (batch,)
    assert measure(CubicFlow(), 0.2, 0.7, x.float()).dtype == torch.float32


@pytest.mark.parametrize("event", [(), (2,), (1, 2, 2)])
def test_there_are_as_many_axes_as_coordinates_or_nodes(event: tuple[int, ...]) -> None:
    x, d = mild(3, *event), torch.Size(event).numel()
    assert principal_variances(CubicFlow(), 0.2, 0.7, x).shape == (3, d)
    assert principal_variances(CubicFlow(), 0.2, 0.7, x, nodes=2).shape == (3, min(2, d))
    assert tangent_norms(CubicFlow(), 0.2, [0.3, 0.5], x).shape == (2, 3)


def every(X: FlowMap, s: Tensor | float, t: Tensor | float, x: Tensor) -> list[Tensor]:
    """All that does not draw."""
    found = [measure(X, s, t, x) for name, measure in MEASURES.items() if name != "lipschitz"]
    return [*found, principal_variances(X, s, t, x), tangent_norms(X, s, [t, 0.4], x).T]


def test_times_and_conditions_belong_to_their_samples() -> None:
    X, label = LearnedMap(TwoTimeNetwork((3,))), uniform(4, seed=2)
    s, t, x = uniform(4), uniform(4, seed=1), mild(4, 3)
    whole = every(X.given(label=label), s, t, x)
    for k in range(4):
        one = every(X.given(label=label[k : k + 1]), float(s[k]), float(t[k]), x[k : k + 1])
        for both, alone in zip(whole, one, strict=True):
            assert_close(both[k : k + 1], alone)


def test_a_line_on_which_one_comes_to_rest_and_turns_back_does_not_bend() -> None:
    back = FlowMap.from_function(lambda s, t, x: x + ((t - 0.5).square() - (s - 0.5).square())[:, None] * (1 + 0 * x))
    x = mild(3, 2)
    assert_close(turning(back, 0.0, 1.0, x, nodes=3), torch.zeros(3).to(x))  # rests at the second node
    assert curvature(back, 0.0, 0.5, x).isnan().all()
    assert_close(curvature(back, 0.0, 0.6, x), torch.zeros(3).to(x))


def test_numbers_of_nodes_and_steps_that_are_none_are_refused() -> None:
    x = mild(2, 3)
    for measure in (arc_length, straightness, turning, principal_variances):
        with pytest.raises(ValueError, match="`nodes` must be a whole number of at least 1, got 0"):
            measure(CubicFlow(), 0.0, 1.0, x, nodes=0)
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1, got 0"):
        lipschitz(CubicFlow(), 0.0, 1.0, x, steps=0)
    with pytest.raises(ValueError, match="`times` must hold at least one time, got none"):
        tangent_norms(CubicFlow(), 0.0, [], x)
