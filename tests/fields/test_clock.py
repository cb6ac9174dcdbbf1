"""The clock of a field: where it is steep, how far times are from there, and the time that it shows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.fields.clock import Clock
from tests.examples import Cubic

S, T = (torch.tensor(times).double() for times in ([0.0, 0.4, 0.9, 1.0], [0.8, 0.3, 0.95, 0.1]))


def rooted(t: Tensor) -> tuple[Tensor, Tensor]:
    """Steep at 1."""
    return 1 - (1 - t).sqrt(), torch.ones_like(t)


def circular(t: Tensor) -> tuple[Tensor, Tensor]:
    """Steep at both ends."""
    return (1 - 2 * t).acos() / torch.pi, torch.ones_like(t)


def even(t: Tensor) -> tuple[Tensor, Tensor]:
    """Steep nowhere."""
    return t**2, torch.ones_like(t)


def test_times_are_as_far_as_the_nearer_is_from_a_steep_end() -> None:
    assert_close(Clock(Cubic(), rooted).reach(S, T), torch.tensor([0.2, 0.6, 0.05, 0.0]).double())
    assert_close(Clock(Cubic(), circular).reach(S, T), torch.tensor([0.0, 0.3, 0.05, 0.0]).double())
    assert_close(Clock(Cubic(), even).reach(S, T), torch.ones(4).double())


def test_it_shows_its_time() -> None:
    for place in (rooted, circular, even):
        clock, t = Clock(Cubic(), place), torch.tensor([[0.1, 0.5], [0.7, 0.99]]).double()
        assert_close(clock.time(place(t)[0]), t, rtol=0, atol=1e-12)
        assert not clock.singular  # unless it says so
        ends = torch.tensor([0.0, 1.0]).double()
        assert clock.steep(ends).tolist() == [place is circular, place is not even]
