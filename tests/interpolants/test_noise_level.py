"""The noise level as a clock: closed forms, round trips on every schedule, the ends, and the root finder beneath."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from flowops.interpolants import (
    NAMED,
    Interpolant,
    edm,
    encoding_decoding,
    linear,
    noise_level,
    time_of_noise_level,
    trigonometric,
    variance_exploding,
)
from flowops.interpolants.noise_level import increasing_root

TWO_TERMS = [name for name in NAMED if not NAMED[name]().has_latent]
DTYPES = [torch.float32, torch.float64]


def levels(I: Interpolant, dtype: torch.dtype) -> Tensor:
    """Noise levels over the range of images, inside that of the schedule."""
    sigma = torch.linspace(-6, 4.3, 300, dtype=dtype).exp()
    first, last = noise_level(I, torch.tensor([0.0, 1.0], dtype=dtype))
    return sigma[(sigma < first) & (sigma > last)]


def test_values_by_hand() -> None:
    t = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(noise_level(linear(), t), t.new_tensor([torch.inf, 4.0, 1.0, 0.0]))
    torch.testing.assert_close(noise_level(edm(1.0, 4.0, 2.0), t[[0, 2, 3]]), t.new_tensor([4.0, 2.25, 1.0]))


@pytest.mark.parametrize(
    ("I", "time"),
    [
        (linear(), lambda sigma: 1 / (1 + sigma)),
        (trigonometric(), lambda sigma: torch.atan(1 / sigma) * 2 / torch.pi),
        (variance_exploding(0.01, 50.0), lambda sigma: torch.log(50 / sigma) / torch.log(sigma.new_tensor(5000.0))),
        (edm(1.0, 4.0, 2.0), lambda sigma: 2 - sigma.sqrt()),
    ],
    ids=lambda value: value.name if isinstance(value, Interpolant) else "",
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_times_in_closed_form(I: Interpolant, time: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    sigma = levels(I, dtype)
    t = time_of_noise_level(I, sigma)
    assert t.dtype == dtype
    torch.testing.assert_close(t, time(sigma), rtol=0, atol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", TWO_TERMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_round_trip_keeps_the_digits_that_a_time_can_hold(name: str, dtype: torch.dtype) -> None:
    I, eps = NAMED[name](), torch.finfo(dtype).eps
    sigma = levels(I, dtype)
    t = time_of_noise_level(I, sigma)
    rate = I.alpha_dot(t) / I.alpha(t) - I.beta_dot(t) / I.beta(t)  # of log sigma: what one rounding of t moves
    off = (noise_level(I, t) / sigma - 1).abs() / (eps * (1 + rate.abs()))
    assert off.max() < 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_outside_the_range_are_at_its_ends(dtype: torch.dtype) -> None:
    sigma = torch.tensor([torch.inf, 60.0, 50.0, 0.01, 0.001, 0.0, -1.0], dtype=dtype)
    t = time_of_noise_level(variance_exploding(0.01, 50.0), sigma)
    assert t.tolist() == [0, 0, 0, 1, 1, 1, 1]
    ends = time_of_noise_level(linear(), torch.tensor([torch.inf, 0.0], dtype=dtype))
    assert ends.tolist() == [0, 1]


def test_nan_stays_and_shapes_are_kept() -> None:
    sigma = torch.tensor([[1.0, torch.nan], [4.0, 0.25]])
    t = time_of_noise_level(linear(), sigma)
    assert t[0, 1].isnan()
    torch.testing.assert_close(t[[0, 1, 1], [0, 0, 1]], torch.tensor([0.5, 0.2, 0.8]))
    assert time_of_noise_level(linear(), torch.tensor(1.0)).shape == ()


class Power(nn.Module):
    """A learned exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, t: Tensor) -> Tensor:
        return t**self.exponent


def test_a_learned_schedule_gives_no_gradient() -> None:
    I = Interpolant(lambda t: 1 - t, Power())
    t = time_of_noise_level(I, torch.tensor([2.0], dtype=torch.float64))
    assert not t.requires_grad
    torch.testing.assert_close(t, t.new_tensor([0.5]))  # 0.5 / 0.25
    assert noise_level(I, t).requires_grad


@pytest.mark.parametrize(
    ("I", "sigma", "error", "sentence"),
    [
        ("linear", torch.ones(1), TypeError, "`I` must be an Interpolant, got str"),
        (encoding_decoding(), torch.ones(1), ValueError, "`I` must have two terms, got the encoding_decoding"),
        (linear(), 1.0, TypeError, "`sigma` must be a floating tensor of noise levels, got float"),
        (linear(), torch.ones(1, dtype=torch.int64), TypeError, "`sigma` must be a floating tensor .* torch.int64"),
        (
            Interpolant(lambda t: 1 + t, lambda t: 2 - t),
            torch.ones(1),
            ValueError,
            "falls from base to data, got 0.5 at",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(I: object, sigma: object, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        time_of_noise_level(I, sigma)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots_are_found_at_ends_of_infinite_or_zero_rate_and_on_steep_slopes(dtype: torch.dtype) -> None:
    root = torch.tensor([1e-6, 0.01, 0.3, 0.9, 1 - 1e-6], dtype=dtype)
    rtol = 40 * torch.finfo(dtype).eps
    square = increasing_root(lambda t: t**2, lambda t: 2 * t, root**2)
    torch.testing.assert_close(square, root, rtol=rtol, atol=0)
    # so steep that Newton's step overshoots from the first brackets
    steep = increasing_root(
        lambda t: torch.tanh(400 * (t - 0.3)), lambda t: 400 / torch.cosh(400 * (t - 0.3)) ** 2, 0 * root
    )
    torch.testing.assert_close(steep, torch.full_like(root, 0.3), rtol=rtol, atol=0)
    half = increasing_root(lambda t: t.sqrt(), lambda t: 0.5 / t.sqrt(), root.sqrt())
    torch.testing.assert_close(half, root, rtol=rtol, atol=0)
