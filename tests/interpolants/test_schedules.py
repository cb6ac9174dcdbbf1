"""The named schedules: their formulas, endpoints, float32 accuracy, and parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from torch import Tensor

from flowops.interpolants import (
    NAMED,
    Interpolant,
    cosine,
    edm,
    encoding_decoding,
    linear,
    named,
    trigonometric,
    variance_exploding,
    variance_preserving,
)

Formula = Callable[[Any], Any]


def nichol_dhariwal(t: Any) -> Any:
    """The signal level as the paper states it, in its time $1-t$."""

    def f(time: Any) -> Any:
        return mpmath.cos((time + mpf("0.008")) / (1 + mpf("0.008")) * mpmath.pi / 2) ** 2

    return f(1 - t) / f(mpf(0))


def song_integral(t: Any) -> Any:
    return mpmath.quad(lambda time: mpf("0.1") + time * (20 - mpf("0.1")), [0, 1 - t])


# As the sources print them, in arbitrary precision.
FORMULAS: dict[str, tuple[Formula, Formula, Formula]] = {
    "linear": (lambda t: 1 - t, lambda t: t, lambda _: 0),
    "trigonometric": (lambda t: mpmath.cos(mpmath.pi * t / 2), lambda t: mpmath.sin(mpmath.pi * t / 2), lambda _: 0),
    "cosine": (
        lambda t: mpmath.sqrt(1 - nichol_dhariwal(t)),
        lambda t: mpmath.sqrt(nichol_dhariwal(t)),
        lambda _: 0,
    ),
    "variance_preserving": (
        lambda t: mpmath.sqrt(1 - mpmath.exp(-song_integral(t))),
        lambda t: mpmath.exp(-song_integral(t) / 2),
        lambda _: 0,
    ),
    "variance_exploding": (
        lambda t: mpf("0.01") * (50 / mpf("0.01")) ** (1 - t),
        lambda _: 1,
        lambda _: 0,
    ),
    "edm": (
        lambda t: (t * mpf("0.002") ** (1 / mpf(7)) + (1 - t) * mpf(80) ** (1 / mpf(7))) ** 7,
        lambda _: 1,
        lambda _: 0,
    ),
    "encoding_decoding": (
        lambda t: mpmath.cos(mpmath.pi * t) ** 2 if t < 0.5 else 0,
        lambda t: mpmath.cos(mpmath.pi * t) ** 2 if t > 0.5 else 0,
        lambda t: mpmath.sin(mpmath.pi * t) ** 2,
    ),
}
TIMES = [0.0, 1e-7, 1e-4, 0.01, 0.2, 0.499, 0.5, 0.501, 0.77, 0.99, 1 - 1e-4, 1 - 2.0**-23, 1.0]


@pytest.fixture(params=NAMED.keys())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def exact(formula: Formula, t: Tensor) -> Tensor:
    with mpmath.workdps(50):
        return torch.tensor([float(mpmath.re(formula(mpf(q)))) for q in t.tolist()], dtype=torch.float64)


def slope(formula: Formula, t: Tensor) -> Tensor:
    """Central differences, in fifty digits."""
    h = mpf(10) ** -15
    return exact(lambda q: (formula(q + h) - formula(q - h)) / (2 * h), t)


def half_square(formula: Formula) -> Formula:
    return lambda t: formula(t) ** 2 / 2


def test_every_named_schedule_has_its_formula_here() -> None:
    assert NAMED.keys() == FORMULAS.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_keep_their_digits_up_to_the_ends(name: str, dtype: torch.dtype) -> None:
    I, t = NAMED[name](), torch.tensor(TIMES, dtype=dtype)
    rtol = 20 * torch.finfo(dtype).eps
    for f, formula in zip((I.alpha, I.beta, I.gamma), FORMULAS[name], strict=True):
        torch.testing.assert_close(f(t).double(), exact(formula, t), rtol=rtol, atol=1e-24)


def test_derivatives_are_those_of_the_formulas(name: str) -> None:
    I, t = NAMED[name](), torch.tensor([0.01, 0.2, 0.4, 0.6, 0.77, 0.99], dtype=torch.float64)
    for f, formula in zip(("alpha", "beta", "gamma"), FORMULAS[name], strict=True):
        torch.testing.assert_close(getattr(I, f"{f}_dot")(t), slope(formula, t), rtol=1e-10, atol=1e-12)
        half = slope(half_square(formula), t)
        torch.testing.assert_close(getattr(I, f"{f}_{f}_dot")(t), half, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_ends_are_exact(dtype: torch.dtype) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    for name in ("linear", "trigonometric", "cosine", "encoding_decoding"):
        I = NAMED[name]()
        assert I.alpha(ends)[1] == 0
        assert I.beta(ends)[0] == 0
        torch.testing.assert_close(I.alpha(ends)[0], ends.new_tensor(1.0))
        torch.testing.assert_close(I.beta(ends)[1], ends.new_tensor(1.0))
    assert (encoding_decoding().gamma(ends) == 0).all()


def test_endpoint_defects_are_those_of_the_docstrings() -> None:
    defects = variance_preserving().endpoint_defects()
    with mpmath.workdps(30):
        beta = mpmath.exp(-mpf("20.1") / 4)
        assert defects["beta(0)"] == pytest.approx(float(beta), rel=1e-12)
        assert defects["alpha(0)"] == pytest.approx(float(mpmath.sqrt(1 - beta**2) - 1), rel=1e-9)
    assert defects["alpha(1)"] == defects["beta(1)"] == 0
    assert variance_exploding().endpoint_defects() == pytest.approx(
        {"alpha(0)": 49.0, "alpha(1)": 0.01, "beta(0)": 1.0, "beta(1)": 0.0}
    )
    assert edm().endpoint_defects() == pytest.approx(
        {"alpha(0)": 79.0, "alpha(1)": 0.002, "beta(0)": 1.0, "beta(1)": 0.0}
    )
    for name in ("linear", "trigonometric", "cosine", "encoding_decoding"):
        assert max(map(abs, NAMED[name]().endpoint_defects().values())) < 1e-15


@pytest.mark.parametrize("schedule", [variance_preserving, cosine])
def test_alpha_dot_is_infinite_at_the_data_and_its_product_with_alpha_is_not(
    schedule: Callable[[], Interpolant],
) -> None:
    I = schedule()
    for dtype in (torch.float32, torch.float64):
        end = torch.tensor(1.0, dtype=dtype)
        assert I.alpha_dot(end) == -torch.inf
        # alpha^2 + beta^2 = 1
        torch.testing.assert_close(I.alpha_alpha_dot(end), -I.beta_beta_dot(end))
    torch.testing.assert_close(variance_preserving().alpha_alpha_dot(1.0), torch.tensor(-0.05))


@pytest.mark.parametrize(
    ("I", "sigma"),
    [
        (variance_exploding(0.1, 10.0), (10.0, 1.0, 0.1)),
        (edm(0.5, 2.0, 1.0), (2.0, 1.25, 0.5)),
        (edm(1.0, 4.0, 2.0), (4.0, 2.25, 1.0)),
    ],
)
def test_noise_levels_follow_their_parameters(I: Interpolant, sigma: tuple[float, ...]) -> None:
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(I.alpha(t), t.new_tensor(sigma))


def test_parameters_of_the_others() -> None:
    constant_rate = variance_preserving(3.0, 3.0)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(constant_rate.beta(t), torch.exp(-1.5 * (1 - t)))
    torch.testing.assert_close(cosine(0.0).alpha(t), torch.cos(torch.pi * t / 2), atol=1e-15, rtol=1e-14)
    assert cosine(0.1).alpha_dot(1.0) == -torch.inf


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: variance_preserving(beta_min=0.0), "`beta_min` must be positive, got 0.0"),
        (lambda: variance_preserving(1.0, 0.5), "`beta_max` must be at least `beta_min`, 1.0, got 0.5"),
        (lambda: variance_exploding(sigma_min=-1.0), "`sigma_min` must be positive"),
        (lambda: variance_exploding(2.0, 1.0), "`sigma_max` must exceed `sigma_min`, 2.0, got 1.0"),
        (lambda: edm(2.0, 2.0), "`sigma_max` must exceed `sigma_min`"),
        (lambda: edm(rho=0.5), r"`rho` must lie in \[1, 64\], got 0.5"),
        (lambda: edm(rho=65.0), r"`rho` must lie in \[1, 64\]"),
        (lambda: cosine(-0.1), "`s` must be at least 0"),
        (lambda: edm(sigma_max=torch.inf), "`sigma_max` must be finite"),
        (lambda: named("gaussian"), "`interpolant` must be one of linear, trigonometric, .*, got 'gaussian'"),
    ],
)
def test_wrong_parameters_are_refused(build: Callable[[], Interpolant], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def test_named_builds_by_name() -> None:
    assert named("edm", rho=3.0).expressions == edm(rho=3.0).expressions
    for name in NAMED:
        assert named(name).name == name


def halved() -> Interpolant:
    return Interpolant.from_expressions("(1-t)/2", "t/2", name="halved")


def test_named_takes_an_interpolant_and_a_factory_of_ones_own() -> None:
    I = cosine()
    assert named(I) is I
    assert named(f"{__name__}:halved").name == "halved"
    with pytest.raises(TypeError, match="`rho` must be an option of the Interpolant given, which has none"):
        named(I, rho=3.0)
    with pytest.raises(TypeError, match="`s` must be an option of linear, which has none"):
        named("linear", s=0.1)
    with pytest.raises(ValueError, match="got 'edn'; did you mean 'edm'"):
        named("edn")


@pytest.mark.parametrize(
    ("I", "rate"),
    [
        (cosine(), math.pi * math.tan(math.pi * 0.008 / 2.016) / 4 / 1.008),
        (variance_preserving(), 0.025),
        (variance_preserving(0.4, 5.0), 0.1),
        (cosine(0.0), 0.0),
        (linear(), 0.0),
        (trigonometric(), 0.0),
    ],
    ids=lambda case: getattr(case, "name", ""),
)
def test_the_flow_matching_loss_grows_by_its_rate_for_each_factor_of_the_truncation(
    I: Interpolant, rate: float
) -> None:
    """The integral of the square of alpha's slope from 1 - d to 1 - d / e, by quadrature in the logarithm of 1 - t."""
    for d in (1e-3, 1e-6):
        nodes, weights = np.polynomial.legendre.leggauss(12)
        left = d * torch.from_numpy(np.exp(-(nodes + 1) / 2))
        gained = (torch.from_numpy(weights) / 2 * left * I.alpha_dot(1 - left) ** 2).sum()
        assert gained.item() == pytest.approx(rate, rel=30 * d**0.5, abs=30 * d)
