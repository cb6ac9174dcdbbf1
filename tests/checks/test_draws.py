"""Times and states at which an object is looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowops.checks.draws import draw
from tests.examples import normal


def test_times_are_ordered_in_the_horizon_and_begin_with_its_edges() -> None:
    d = draw([], (-1.0, 3.0), None, (2,), 20, 0)
    assert bool(((d.s <= d.u) & (d.u <= d.t)).all())
    assert (float(d.s.min()), float(d.t.max())) == (-1.0, 3.0)
    assert [(float(s), float(t)) for s, t in zip(d.s[:6], d.t[:6], strict=True)] == [
        (-1, 3), (-1, 1), (1, 3), (1, 1), (-1, -1), (3, 3)
    ]  # fmt: skip


def test_states_of_a_tensor_are_different_rows_of_it() -> None:
    states = normal(40, 3)
    x = draw([], (0.0, 1.0), states, (2,), 6, 0).x
    rows = [int((states == row).all(1).nonzero()[0, 0]) for row in x]
    assert len(set(rows)) == 6
    assert len(draw([], (0.0, 1.0), states, (2,), 100, 0).x) == 40


@pytest.mark.parametrize(("event", "count"), [((64,), 24), ((65,), 8)])
def test_fewer_large_states_are_looked_at_wherever_they_are_from(event: tuple[int, ...], count: int) -> None:
    def sampler(n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, *event, dtype=torch.float64, generator=generator)

    sources = ((None, event), (normal(40, *event), (2,)), (sampler, (2,)))
    found = [draw([], (0.0, 1.0), states, shape, None, 0) for states, shape in sources]
    assert [(d.x.shape, len(d.t)) for d in found] == [((count, *event), count)] * 3
    assert len(draw([], (0.0, 1.0), sampler, (2,), 12, 0).x) == 12


def test_states_have_the_dtype_of_the_first_parameter() -> None:
    assert draw([nn.Linear(2, 2)], (0.0, 1.0), None, (2,), 3, 0).x.dtype == torch.float32
    assert draw([], (0.0, 1.0), None, (2,), 3, 0).x.dtype == torch.float64


def test_the_same_seed_gives_the_same_draws_and_another_one_others() -> None:
    first, again, other = (draw([], (0.0, 1.0), None, (2,), 8, seed) for seed in (1, 1, 2))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.t, again.t)
    assert not torch.equal(first.x, other.x)


def test_a_sampler_that_gives_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="`states` must give 5 finite states"):
        draw([], (0.0, 1.0), lambda n, _: torch.full((n - 1, 2), 1.0), (2,), 5, 0)
