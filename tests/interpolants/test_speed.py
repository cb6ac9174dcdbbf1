"""The speed of the coefficients, and the rate at which its square diverges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import Interpolant
from flowops.interpolants import NAMED, Divergence, cosine, divergences, speed, validate, variance_preserving


def by_quadrature(I: Interpolant, key: str, end: int, near: float, far: float) -> float:
    """The integral of a squared derivative between two distances from an end, on a logarithmic grid."""
    y = torch.linspace(math.log(near), math.log(far), 4001, dtype=torch.float64)
    d = y.exp()
    rate = getattr(I, f"{key}_dot")(d if end == 0 else 1 - d)
    return torch.trapezoid(rate**2 * d, y).item()


@pytest.mark.parametrize("name", NAMED)
def test_only_the_two_schedules_with_a_root_diverge(name: str) -> None:
    assert bool(divergences(NAMED[name]())) == (name in ("cosine", "variance_preserving"))


@pytest.mark.parametrize(
    ("I", "found"),
    [
        (variance_preserving(0.3, 15.0), [Divergence("alpha", 1, 0.0, 0.3 / 4, exact=True)]),
        (cosine(0.02), [Divergence("alpha", 1, 0.0, math.pi * math.tan(math.pi * 0.01 / 1.02) / 4.08, exact=True)]),
        (variance_preserving(1e-9), [Divergence("alpha", 1, 0.0, 1e-9 / 4, exact=True)]),  # seen nowhere but at the end
        (
            Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))"),
            [Divergence("gamma", end, 0.0, 0.5, exact=True) for end in (0, 1)],
        ),
        (
            Interpolant(lambda t: (1 - t) ** 0.3, lambda t: t**0.4),
            [Divergence("alpha", 1, 0.4, 0.09 / 0.4, exact=False), Divergence("beta", 0, 0.2, 0.16 / 0.2, exact=False)],
        ),
        (Interpolant.from_expressions("1-t", "1-sqrt(1-t)"), [Divergence("beta", 1, 0.0, 0.25, exact=False)]),
        (Interpolant(lambda t: (1 - t).sqrt(), lambda t: t), [Divergence("alpha", 1, 0.0, 0.25, exact=False)]),
        (Interpolant.from_expressions("(1-t)**0.6", "t**2"), []),
    ],
)
def test_the_rate_is_that_of_the_integral(I: Interpolant, found: list[Divergence]) -> None:
    result = divergences(I)
    assert [(d.coefficient, d.end, d.exact) for d in result] == [(d.coefficient, d.end, d.exact) for d in found]
    for d, wanted in zip(result, found, strict=True):
        assert d.power == pytest.approx(wanted.power, abs=1e-6)
        assert d.rate == pytest.approx(wanted.rate, rel=1e-6)
        near, far = 1e-8, 1e-7
        if wanted.rate > 1e-8:  # the smallest shows only nearer to the end than times can be
            growth = d.rate * (near**-d.power - far**-d.power if d.power else math.log(far / near))
            assert by_quadrature(I, d.coefficient, d.end, near, far) == pytest.approx(growth, rel=1e-4)


def test_the_speed_is_the_norm_of_the_rates_and_that_of_the_angle_on_the_circle() -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    three = NAMED["encoding_decoding"]()
    squares = torch.stack([three.alpha_dot(t), three.beta_dot(t), three.gamma_dot(t)]).square().sum(0)
    torch.testing.assert_close(speed(three, t), squares.sqrt())
    torch.testing.assert_close(speed(NAMED["linear"](), t), torch.full_like(t, 2**0.5))

    def angle(t: Tensor) -> Tensor:
        return torch.atan2(cosine().beta(t), cosine().alpha(t))

    torch.testing.assert_close(speed(cosine(), t), torch.func.jvp(angle, (t,), (torch.ones_like(t),))[1])
    assert speed(cosine(), torch.ones(())).isinf()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "ask", [divergences, validate, lambda I: speed(I, torch.ones(1))], ids=["divergences", "validate", "speed"]
)
def test_what_is_no_interpolant_is_refused(ask: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="`I` must be an Interpolant, got str; build one first"):
        ask("cosine")
