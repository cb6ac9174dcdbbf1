"""What all fields of interpolants share: finite for every schedule, accurate near both ends, one law per field."""

from __future__ import annotations

import pytest
import torch

from flowops import problems
from flowops.interpolants import Interpolant, linear

MEANS = torch.tensor([[1.0, 1.0], [-1.5, 0.5], [0.0, -2.0]], dtype=torch.float64)
FULL = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
FACTORIES = {
    "gaussian": lambda I: problems.gaussian([1.0, -1.0], FULL, I),
    "rotated mixture": lambda I: problems.gaussian_mixture(None, MEANS, torch.stack([FULL, 2 * FULL, FULL / 10]), I),
    "isotropic mixture": lambda I: problems.gaussian_mixture([0.2, 0.3, 0.5], MEANS, 0.2, I),
    "checkerboard": lambda I: problems.checkerboard(I),
    "empirical": lambda I: problems.empirical(MEANS, I),
}
NAMES = list(FACTORIES)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_finite_for_all_times_and_states(name, schedule, generator):
    problem = FACTORIES[name](schedule)
    times = torch.tensor([0.0, 1e-7, 1e-4, 0.5, 1 - 1e-4, 1 - 1e-6, 1.0], dtype=torch.float64).repeat_interleave(6)
    x = problem.sample(times, len(times), generator=generator, dtype=torch.float64)
    states = torch.cat([x, 20 * torch.randn(len(x), 2, generator=generator, dtype=torch.float64)])
    for dtype in (torch.float32, torch.float64):
        t, state = times.repeat(2).to(dtype), states.to(dtype)
        for f in (problem.b, problem.score, problem.b.denoiser, problem.log_prob):
            assert f(t, state).isfinite().all()
        assert problem.b.jvp(t, state, state).isfinite().all()
        leaf = state.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(problem.b(t, leaf).sum(), leaf)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [1e-4, 0.5, 1 - 1e-4])
def test_float32_loses_no_more_than_the_conditioning(name, t, schedule, generator):
    """The error is at most a few hundred eps / sigma: rounding of x alone moves the noise by eps |x| / sigma."""
    problem = FACTORIES[name](schedule)
    t32 = torch.tensor(t, dtype=torch.float32)
    x = problem.sample(t32, 40, generator=generator, dtype=torch.float32)
    exact = problem.b(t32.double(), x.double())
    time = t32.double()
    sigma = (schedule.alpha(time) ** 2 + schedule.gamma(time) ** 2).sqrt().item()
    bound = 300 * torch.finfo(torch.float32).eps / min(sigma, 1) * (1 + exact.abs().amax())
    assert (problem.b(t32, x) - exact).abs().max() < bound


@pytest.mark.parametrize("name", NAMES)
def test_the_field_joins_denoiser_and_score(name, schedule, generator):
    r"""$b=\dot\beta D-\sigma\dot\sigma\nabla\log\rho$, and Tweedie's formula $\beta D=x+\sigma^2\nabla\log\rho$."""
    problem = FACTORIES[name](schedule)
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    x = problem.sample(t, 5, generator=generator, dtype=torch.float64)
    score, denoised = problem.score(t, x), problem.b.denoiser(t, x)
    variance = (schedule.alpha(t) ** 2 + schedule.gamma(t) ** 2)[:, None]
    rate = (schedule.alpha_alpha_dot(t) + schedule.gamma_gamma_dot(t))[:, None]
    torch.testing.assert_close(problem.b(t, x), schedule.beta_dot(t)[:, None] * denoised - rate * score)
    torch.testing.assert_close(schedule.beta(t)[:, None] * denoised, x + variance * score, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_join_on_continuously(name, generator):
    """At t = 0 and t = 1 the field is the limit of its values, where that limit exists."""
    problem = FACTORIES[name](linear())
    ends = (0.0,) if name == "empirical" else (0.0, 1.0)
    for end in ends:
        x = problem.sample(end, 20, generator=generator, dtype=torch.float64)
        inside = abs(end - 1e-7)
        torch.testing.assert_close(problem.b(end, x), problem.b(inside, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_times_may_be_scalars_or_one_per_sample_and_batches_single(name, generator):
    problem = FACTORIES[name](linear())
    x = problem.sample(0.3, 3, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    each = torch.cat([problem.b(tau.item(), y[None]) for tau, y in zip(t, x, strict=True)])
    torch.testing.assert_close(problem.b(t, x), each)
    assert problem.b(0.5, x[:0]).shape == (0, 2)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_events_are_refused(name):
    problem = FACTORIES[name](linear())
    for call in (problem.b, problem.score, problem.log_prob):
        with pytest.raises(ValueError, match=r"`x` must have shape \[batch, \*event\] with event \[2\], got \[4, 3\]"):
            call(0.5, torch.zeros(4, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("unchecked")
def test_only_interpolants_from_a_gaussian_base_are_taken(name):
    with pytest.raises(TypeError, match="`interpolant` must be an Interpolant, got str"):
        FACTORIES[name]("linear")
    other = Interpolant.from_expressions("1-t", "t", gaussian_base=False)
    with pytest.raises(ValueError, match="`interpolant` must start from a standard normal base"):
        FACTORIES[name](other)


@pytest.mark.parametrize("name", NAMES)
def test_the_sign_of_the_base_does_not_matter(name, generator):
    """x0 and -x0 have the same law, so alpha and -alpha have the same field."""
    positive = FACTORIES[name](linear())
    negative = FACTORIES[name](Interpolant.from_expressions("t-1", "t"))
    t = torch.linspace(0, 0.99, 6, dtype=torch.float64)
    x = positive.sample(t, 6, generator=generator, dtype=torch.float64)
    for f, g in ((positive.b, negative.b), (positive.score, negative.score), (positive.log_prob, negative.log_prob)):
        torch.testing.assert_close(f(t, x), g(t, x))
