"""Conversions against the closed forms of a Gaussian pair, at both ends too, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from flowops.interpolants import NAMED, QUANTITIES, Interpolant

TWO_TERMS = {
    **{name: factory() for name, factory in NAMED.items() if name != "encoding_decoding"},
    "root": Interpolant.from_expressions("1-t", "sqrt(t)"),
    "callables": Interpolant(lambda t: (1 - t) * (2 + t) / 2, lambda t: t * (1 + t) / 2),
    "callable_roots": Interpolant(lambda t: torch.sqrt(-torch.expm1(t**2 - 1)), lambda t: torch.sqrt(torch.sin(t))),
}
PAIRS = [(a, b) for a, b in itertools.product(QUANTITIES, QUANTITIES) if a != b]
MEAN, VARIANCE = 0.7, 0.3


def quantities(I: Interpolant, t: Tensor, x: Tensor) -> dict[str, Tensor]:
    r"""Regressions of $\dot I_t,x_0,x_1$ on $I_t$ for $x_0\sim N(0,1)$, $x_1\sim N(m,v)$, and the score of $I_t$."""
    alpha, beta = I.alpha(t)[:, None], I.beta(t)[:, None]
    pull = (x - beta * MEAN) / (alpha**2 + beta**2 * VARIANCE)
    covariance = (I.alpha_alpha_dot(t) + I.beta_beta_dot(t) * VARIANCE)[:, None]
    return {
        "noise": alpha * pull,
        "denoiser": MEAN + beta * VARIANCE * pull,
        "score": -pull,
        "velocity": I.beta_dot(t)[:, None] * MEAN + covariance * pull,
    }


def determined(I: Interpolant, t: float, source: str, target: str) -> bool:
    """Whether the limit of `target` at `t` is a function of the state and of `source`."""
    if I.beta(t) == 0 and source in ("noise", "score"):
        return target in ("noise", "score")
    if I.alpha(t) == 0 and source == "denoiser":
        return False
    if I.alpha(t) == 0 and source in ("velocity", "noise") and target == "score":
        return False
    return not (source == "noise" and target == "velocity" and I.alpha_dot(t).isinf())


@pytest.fixture(params=list(TWO_TERMS.values()), ids=list(TWO_TERMS))
def interpolant(request: pytest.FixtureRequest) -> Interpolant:
    return request.param


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_inside_every_pair_agrees_with_the_closed_form(
    interpolant: Interpolant, source: str, target: str, x: Tensor
) -> None:
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    exact = quantities(interpolant, t, x)
    result = interpolant.convert(t, x, exact[source], source, target)
    torch.testing.assert_close(result, exact[target], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_at_the_ends_every_determined_limit_is_met(
    interpolant: Interpolant, source: str, target: str, end: float, x: Tensor
) -> None:
    if interpolant.beta_dot(end).isinf() and "velocity" in (source, target):
        pytest.skip("the velocity itself is infinite")
    t = torch.full((5,), end, dtype=torch.float64)
    exact = quantities(interpolant, t, x)
    if determined(interpolant, end, source, target):
        result = interpolant.convert(t, x, exact[source], source, target)
        torch.testing.assert_close(result, exact[target], rtol=1e-9, atol=1e-9)
    else:
        with pytest.raises(ValueError, match=f"a time at which {source} determines {target}, got {end:g}, where alpha"):
            interpolant.convert(t, x, exact[source], source, target)
        mapped = torch.func.vmap(lambda t, x, v: interpolant.convert(t, x, v, source, target))(t, x, exact[source])
        assert not (mapped.isfinite().all() and torch.allclose(mapped, exact[target]))  # no look at values there


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_reads_the_endpoints_off_the_velocity_exactly(dtype: torch.dtype) -> None:
    I = TWO_TERMS["linear"]
    x, v = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert I.convert(0.0, x, v, "velocity", "noise").equal(x)
    assert I.convert(0.0, x, v, "velocity", "denoiser").equal(x + v)
    assert I.convert(1.0, x, v, "velocity", "denoiser").equal(x)
    assert I.convert(1.0, x, v, "velocity", "noise").equal(x - v)
    assert I.convert(0.0, x, v, "denoiser", "noise").equal(x)
    assert I.convert(1.0, x, v, "noise", "denoiser").equal(x)
    assert I.convert(0.0, x, v, "denoiser", "velocity").equal(v - x)


def test_a_zero_that_is_rounding_is_refused_and_the_last_time_before_an_end_is_not() -> None:
    I = Interpolant(lambda t: torch.cos(torch.pi * t / 2), lambda t: torch.sin(torch.pi * t / 2))
    x, v = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(5))
    assert 0 < I.alpha(1.0).abs() < 1e-7
    with pytest.raises(ValueError, match="velocity determines score, got 1, where alpha = -4"):
        I.convert(1.0, x, v, "velocity", "score")
    last = torch.tensor(1.0).nextafter(torch.tensor(0.0))
    assert TWO_TERMS["linear"].convert(last, x, v, "velocity", "score").isfinite().all()


def test_one_time_of_a_batch_is_named_and_a_sample_that_is_lost_already_is_not_blamed() -> None:
    I, t = TWO_TERMS["linear"], torch.tensor([0.5, 1.0, 0.25])
    x, v = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(6))
    with pytest.raises(ValueError, match="got 1, where alpha = 0, beta = 1 and alpha_dot = -1; take a time inside"):
        I.convert(t, x, v, "velocity", "score")
    x[0, 0] = torch.nan
    assert I.convert(t.clamp(max=0.5), x, v, "velocity", "score").isnan().sum() == 1


def test_an_infinite_rate_leaves_the_denoiser_finite() -> None:
    x = torch.randn(4, 2)
    result = TWO_TERMS["variance_preserving"].convert(1.0, x, torch.randn(4, 2), "velocity", "denoiser")
    torch.testing.assert_close(result, x)
    root = TWO_TERMS["root"]
    torch.testing.assert_close(root.convert(0.0, x, torch.randn(4, 2), "velocity", "noise"), x)


@pytest.mark.parametrize("name", ["linear", "variance_preserving", "cosine"])
def test_float32_near_the_data_is_as_accurate_as_its_conditioning(name: str) -> None:
    I, t = TWO_TERMS[name], torch.full((5,), 1 - 1e-4)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    exact = quantities(I, t.double(), x.double())
    tolerance = 20 * torch.finfo(torch.float32).eps / I.alpha(t)[0].item()
    for source, target in (
        ("velocity", "denoiser"),
        ("score", "denoiser"),
        ("score", "velocity"),
        ("noise", "denoiser"),
    ):
        result = I.convert(t, x, exact[source].float(), source, target)
        torch.testing.assert_close(result.double(), exact[target], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("source", QUANTITIES)
def test_there_and_back_is_the_identity(interpolant: Interpolant, source: str, x: Tensor) -> None:
    t = torch.tensor([0.2, 0.35, 0.5, 0.65, 0.8], dtype=torch.float64)
    value = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert interpolant.convert(t, x, value, source, source).equal(value)
    for target in QUANTITIES:
        there = interpolant.convert(t, x, value, source, target)
        torch.testing.assert_close(interpolant.convert(t, x, there, target, source), value, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_any_event_any_time_any_transform(source: str, target: str) -> None:
    I, generator = TWO_TERMS["cosine"], torch.Generator().manual_seed(4)
    x, value = torch.randn(2, 4, 3, 2, 2, generator=generator)
    t = torch.rand(4, generator=generator) * 0.8 + 0.1

    def f(t: Tensor, x: Tensor, value: Tensor) -> Tensor:
        return I.convert(t, x, value, source, target)

    rows = torch.stack([f(t[k], x[k : k + 1], value[k : k + 1])[0] for k in range(4)])
    torch.testing.assert_close(f(t, x, value), rows)
    torch.testing.assert_close(torch.func.vmap(f)(t, x, value), rows)
    assert f(t.double(), x, value).dtype == torch.float32


def test_what_cannot_be_converted_is_refused_with_the_reason(x: Tensor) -> None:
    linear, three = TWO_TERMS["linear"], NAMED["encoding_decoding"]()
    with pytest.raises(ValueError, match="`source` must be one of velocity, score, denoiser, noise, got 'drift'"):
        linear.convert(0.5, x, x, "drift", "score")
    with pytest.raises(ValueError, match="`target` must be one of velocity, score, denoiser, noise, got 'eps'"):
        linear.convert(0.5, x, x, "score", "eps")
    with pytest.raises(ValueError, match="two-term interpolant, got encoding_decoding with a gamma term"):
        three.convert(0.5, x, x, "score", "noise")
    other = Interpolant.from_expressions("1-t", "t", name="image pairs", gaussian_base=False)
    with pytest.raises(ValueError, match="Gaussian base, .* got image pairs with gaussian_base=False"):
        other.convert(0.5, x, x, "velocity", "denoiser")
    with pytest.raises(ValueError, match="`value` must have the shape of `x`"):
        linear.convert(0.5, x, x[:, :1], "velocity", "denoiser")
    with pytest.raises(ValueError, match="`t` must be a scalar or have shape"):
        linear.convert(x.new_zeros(2), x, x, "velocity", "denoiser")
