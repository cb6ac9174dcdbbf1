"""The conditional velocity: the derivative of an interpolant along pairs, whatever the state."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from flowops import Interpolant
from flowops.fields import ConditionalVelocity
from tests.examples import normal, uniform


def test_it_is_the_derivative_of_the_interpolant_along_its_pairs() -> None:
    I = Interpolant.from_expressions("1-t**2", "t**3", "t*(1-t)")
    x0, x1, z, t = normal(5, 2), normal(5, 2, seed=1), normal(5, 2, seed=2), uniform(5)
    b = ConditionalVelocity(I, x0, x1, z)
    slope = torch.func.jvp(lambda q: I(q, x0, x1, z), (t,), (torch.ones_like(t),))[1]
    assert_close(b(t, I(t, x0, x1, z)), slope)
    assert_close(b(t, normal(5, 2, seed=3)), slope)  # right only on the path, the same everywhere
    assert not torch.allclose(b(t, x0), ConditionalVelocity(I, x0, x1, -z)(t, x0))
