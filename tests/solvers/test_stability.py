r"""Stability: $R(z)=1+z\,b^\top(I-zA)^{-1}\mathbb 1$ of every explicit tableau, exactly, and the reach of its region.

On $\dot x=zx$ a step multiplies by $R(z)$, a polynomial. Source: Hairer, Wanner, Solving ODEs II, §IV.2.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers.alone import Alone
from flowops._solvers.control import Control
from flowops._solvers.fixed import TABLEAUS
from flowops._solvers.stepping import Explicit
from flowops._solvers.tableaus import EMBEDDED, Embedded, Row, stability
from flowops._solvers.trials import trial_of

# How far the region reaches from zero along the negative real axis, and along the imaginary one.
KNOWN = {
    "euler": (2.0, 0.0),
    "midpoint": (2.0, 0.0),
    "heun": (2.0, 0.0),
    "adaptive_heun": (2.0, 0.0),
    "heun3": (2.512745, 3**0.5),
    "bosh3": (2.512745, 3**0.5),
    "rk4": (2.785294, 8**0.5),
    "dopri5": (3.306568, 0.997189),
    "tsit5": (3.506847, 0.477979),
    "dopri8": (5.166634, 0.0),
    "dop853": (6.393652, 5.960360),
}
METHODS = pytest.mark.parametrize("name", KNOWN)
PAIRS = pytest.mark.parametrize("name", EMBEDDED)
PLANE = torch.complex(*torch.meshgrid(torch.linspace(-7, 1, 17), torch.linspace(-6, 6, 25), indexing="ij")).flatten()
PLANE = PLANE.to(torch.complex128)


def tableau(name: str) -> tuple[tuple[Row, ...], Row]:
    """The square part of the weights of the stages, and those of the end."""
    if name in EMBEDDED:
        return EMBEDDED[name].a[: len(EMBEDDED[name].b)], EMBEDDED[name].b
    fixed = TABLEAUS[name]
    *a, b = (tuple(Fraction(w).limit_denominator(100) for w in row) for row in (*fixed.a, fixed.b))
    return tuple(a), b


def R(name: str, z: Tensor) -> Tensor:
    """The stability function by the coefficients of the library."""
    value = torch.zeros_like(z)
    for c in reversed(stability(*tableau(name))):
        value = value * z + float(c)
    return value


@METHODS
def test_the_coefficients_are_those_of_the_resolvent(name: str) -> None:
    """Exactly, from a triangular solve in rational functions; the exponential up to the order."""
    z = sympy.Symbol("z")
    rows, end = tableau(name)
    stages: list[sympy.Expr] = []  # of (I - zA) v = 1
    for row in rows:
        terms = [sympy.Rational(w.numerator, w.denominator) * v for w, v in zip(row, stages, strict=True)]
        stages.append(sympy.expand(1 + z * sum(terms)))
    value = 1 + z * sum(sympy.Rational(w.numerator, w.denominator) * v for w, v in zip(end, stages, strict=True))
    exact = sympy.Poly(sympy.expand(value), z).all_coeffs()[::-1]
    own = stability(rows, end)
    assert [sympy.Rational(c.numerator, c.denominator) for c in own[: len(exact)]] == exact
    assert not any(own[len(exact) :])
    order = EMBEDDED[name].order if name in EMBEDDED else TABLEAUS[name].order
    for k in range(order + 1):
        assert float(exact[k]) == pytest.approx(1 / math.factorial(k), rel=1e-12)


def spiral(z: Tensor) -> VelocityField:
    r"""$\dot x=zx$ of complex numbers as pairs of real ones, one number per sample."""

    def slope(_: Tensor, x: Tensor) -> Tensor:
        return torch.view_as_real(z * torch.view_as_complex(x.contiguous()))

    return VelocityField.from_function(slope)


@pytest.mark.parametrize("name", TABLEAUS)
def test_a_fixed_step_multiplies_by_it(name: str) -> None:
    x = torch.tensor([[1.0, 0.0]]).double().expand(len(PLANE), 2)
    found = SolutionOperator(spiral(PLANE), method=name, steps=1)(0.0, 1.0, x)
    assert_close(torch.view_as_complex(found), R(name, PLANE), rtol=1e-11, atol=1e-11)


@PAIRS
def test_a_step_of_a_pair_multiplies_by_it(name: str) -> None:
    """The step of a batch, the same with derivatives, and that of a sample alone."""
    pair, expected = EMBEDDED[name], R(name, PLANE)
    y = torch.tensor([[1.0, 0.0]]).double().repeat(len(PLANE), 1)
    explicit, b = Explicit(pair, y), spiral(PLANE)
    zero = torch.zeros(len(y)).double()
    tau, h, slope = explicit.c.expand(-1, len(y)), torch.ones(len(y), 1).double(), b(zero, y)

    def check(found: Tensor, exact: Tensor) -> None:
        assert_close(torch.view_as_complex(found), exact, rtol=1e-9, atol=1e-9)

    check(explicit.attempt(b, y, slope, tau, h)[0], expected)
    check(explicit.repeat(b, y, slope, tau, h)[0], expected)
    for k in range(0, len(PLANE), 7):
        check(alone(pair, spiral(PLANE[k : k + 1]), y[:1]), expected[k : k + 1])


def alone(pair: Embedded, b: VelocityField, y: Tensor) -> Tensor:
    """A step of length one of one sample alone."""
    zero = torch.zeros(1).double()
    active = Alone(lambda _: b, y, zero, zero + 1, pair, Control(1e-3, 1e-3, pair.rate), 10)
    active.rhs, active.slope = b, b(zero, y)
    trial = trial_of(active)
    trial(0.0, 1.0, 1.0)
    return torch.from_numpy(trial.end)


@METHODS
def test_the_region_reaches_as_far_as_is_known(name: str) -> None:
    real, imaginary = KNOWN[name]

    def beyond(z: complex) -> float:
        return float(R(name, torch.tensor([z], dtype=torch.complex128)).abs()) - 1

    def on_all(direction: complex, lengths: np.ndarray) -> Tensor:
        return R(name, direction * torch.from_numpy(lengths).to(torch.complex128)).abs() - 1

    found = brentq(lambda r: beyond(complex(-r)), real - 0.2, real + 0.2, xtol=1e-10)
    assert found == pytest.approx(real, abs=2e-6)
    assert (on_all(-1, np.linspace(1e-3, real - 1e-3, 200)) <= 0).all()
    if imaginary:
        assert brentq(lambda r: beyond(1j * r), imaginary - 0.2, imaginary + 0.2, xtol=1e-10) == pytest.approx(
            imaginary, abs=2e-6
        )
        assert (on_all(1j, np.linspace(0, imaginary - 1e-3, 200)) <= 1e-13).all()
    else:
        assert (on_all(1j, np.linspace(0.4, 1.4, 20)) > 0).all()


@PAIRS
def test_the_boundary_that_detects_stiffness_is_the_real_one(name: str) -> None:
    assert EMBEDDED[name].boundary == pytest.approx(KNOWN[name][0], abs=0.005)
