r"""The flow gathers the logarithm of a tilt at the rate r(X_{t,1}), so that weighted particles have the tilted law.

$$\Big(\partial_t+b_t\cdot\nabla\Big)\,t\,r(X_{t,1}(x))=r(X_{t,1}(x)),\qquad
\rho_1e^r/Z=\sum_k\hat w_kN(\hat m_k,\hat\Sigma_k)\ \text{for}\ \rho_1=\sum_kw_kN(m_k,\Sigma_k)$$

Hypotheses: $X$ the flow of $b$, $r$ differentiable. For $r(x)=a\cdot x-\tfrac12x^\top Qx$ the tilted components have
$\hat\Sigma=(\Sigma^{-1}+Q)^{-1}$, $\hat m=\hat\Sigma(\Sigma^{-1}m+a)$ and $\hat w\propto w\,|\hat\Sigma\Sigma^{-1}
|^{1/2}\exp\tfrac12(\hat m^\top\hat\Sigma^{-1}\hat m-m^\top\Sigma^{-1}m)$. Statistics are unbiased, of 64 independent
populations on fixed seeds, and judged by Student's law at a false-alarm rate of $10^{-6}$ for the nine of a check.

Source: Sabour et al. 2511.22688 (FMTT); Del Moral, Doucet, Jasra 2006.
"""

from functools import cache

import pytest
import scipy.stats
import torch
from torch import Tensor

from flowops import SolutionOperator, interpolants, problems, residuals
from flowops.sampling import Langevin, Tilted, tilt
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, gaussian_parameters, named_cases
from theory_checks.controls import Perturbed
from theory_checks.data_laws import CENTERS, COVARIANCES, SHARES
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

A = torch.tensor([1.5, -0.7], dtype=torch.float64)
Q = torch.tensor([[0.6, 0.2], [0.2, 0.3]], dtype=torch.float64)
WEIGHTS = torch.tensor(SHARES, dtype=torch.float64)
MIXTURE = problems.gaussian_mixture(WEIGHTS, CENTERS, COVARIANCES, interpolants.trigonometric())
MAP = SolutionOperator(MIXTURE.b, method="rk4", steps=6)  # wrong by 1e-5, where statistics are by 1e-2
POPULATIONS = 64
CASES = named_cases("linear", "logistic", "pendulum", "gaussian trigonometric", "gaussian edm")


def bumpy(x: Tensor) -> Tensor:
    """A reward of states of any shape."""
    flat = x.reshape(len(x), -1)
    return torch.sin(2 * flat).sum(1) + flat.square().sum(1) / 3


def reward(x: Tensor) -> Tensor:
    r"""$a\cdot x-\tfrac12x^\top Qx$."""
    return x @ A - ((x @ Q) * x).sum(1) / 2


@pytest.mark.parametrize("known", CASES, ids=lambda c: c.name)
def test_the_identity(known: Case, check: Check) -> None:
    x = known.states(4, 1)
    t = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    left, right = residuals.tilting(known.X, known.b, bumpy, t, x, parts=True)
    scale = 1 + right.abs().max() + known.X.material_derivative(t, 1.0, x, 0 * x).abs().max()
    check.vanishes(left - right, CLOSED_FORM, scale=scale)


@pytest.mark.parametrize("event", [(), (1, 2, 2)])
def test_the_identity_of_solved_maps(event: tuple[int, ...], check: Check) -> None:
    b, x = SmoothField(event, 2), normal(2, 1, *event)
    check.vanishes(residuals.tilting(SolutionOperator(b), b, bumpy, 0.4, x).detach(), 1e-7)


def test_the_weights_of_particles_that_follow_the_flow_are_exponentials_of_the_reward(check: Check) -> None:
    problem = problems.gaussian(*gaussian_parameters(), interpolants.linear())
    drawn = tilt(problem.X, reward, normal(3, 30, 2), uniform(7), populations=3, threshold=0.0)
    check.vanishes(drawn.log_weights.reshape(-1) - reward(drawn.x), CLOSED_FORM)
    check.vanishes(drawn.x - problem.X(0.0, 1.0, normal(3, 30, 2)), CLOSED_FORM)


def tilted_law() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""$\hat w_k$, $\hat m_k$, $\hat\Sigma_k$ and $Z$."""
    precision = torch.linalg.inv(COVARIANCES)
    covariances = torch.linalg.inv(precision + Q)
    means = (covariances @ ((precision @ CENTERS[..., None])[..., 0] + A)[..., None])[..., 0]
    grown, before = ((m * torch.linalg.solve(C, m)).sum(1) for m, C in ((means, covariances), (CENTERS, COVARIANCES)))
    masses = WEIGHTS * ((torch.logdet(covariances) - torch.logdet(COVARIANCES) + grown - before) / 2).exp()
    return masses / masses.sum(), means, covariances, masses.sum()


def statistics(x: Tensor) -> Tensor:
    """Coordinates, their products, and the shares of the components of the tilted law, `[n, 8]`."""
    weights, means, covariances, _ = tilted_law()
    laws = [torch.distributions.MultivariateNormal(m, C) for m, C in zip(means, covariances, strict=True)]
    shares = torch.softmax(weights.log() + torch.stack([law.log_prob(x) for law in laws], 1), 1)
    return torch.cat([x, x.square(), x.prod(1, keepdim=True), shares], 1)


def expected() -> Tensor:
    """Of these under the tilted law."""
    weights, means, covariances, _ = tilted_law()
    second = (weights[:, None, None] * (covariances + means[:, :, None] * means[:, None])).sum(0)
    return torch.cat([weights @ means, second.diagonal(), second[:1, 1], weights])


def scores(drawn: Tilted) -> Tensor:
    """Student's statistics of what must vanish, and of the estimates of $Z$."""
    weights = drawn.log_weights.exp()[..., None]
    off = (weights * (statistics(drawn.x) - expected()).reshape(*drawn.log_weights.shape, -1)).mean(1)
    per_population = torch.cat([off, weights.mean(1) - tilted_law()[3]], 1)
    return per_population.mean(0) / (per_population.std(0) / len(per_population) ** 0.5)


BOUND = float(scipy.stats.t.isf(1e-6 / (2 * 9), POPULATIONS - 1))
MOVES = {
    "none": None,
    "accepted or refused": Langevin(MIXTURE.score, 0.1, 1, MIXTURE.log_prob),
}


@cache
def drawn(moves: str, seed: int = 0) -> Tilted:
    """4,096 particles in 64 populations."""
    generator = torch.Generator().manual_seed(seed)
    x0 = MIXTURE.sample_base(64 * POPULATIONS, generator=generator, dtype=torch.float64)
    return tilt(
        MAP, reward, x0, uniform(4), langevin=MOVES[moves], populations=POPULATIONS, threshold=0.8, generator=generator
    )


@pytest.mark.parametrize("moves", MOVES)
def test_particles_have_the_tilted_law(moves: str, check: Check) -> None:
    check.at_most(float(scores(drawn(moves)).abs().max()), BOUND)
    mean, error = drawn(moves).mean(statistics(drawn(moves).x))
    check.at_most(float(((mean - expected()) / error).abs().max()), BOUND)
    assert drawn(moves).resampled[:-1].any()


def moved(step: float, adjusted: bool) -> Tilted:
    """Exact draws of the tilted law after ten moves, with equal weights."""
    weights, means, covariances, _ = tilted_law()
    generator = torch.Generator().manual_seed(4)
    mode = torch.multinomial(weights, 64 * POPULATIONS, replacement=True, generator=generator)
    noise = torch.randn(len(mode), 2, generator=generator, dtype=torch.float64)
    x = means[mode] + (torch.linalg.cholesky(covariances)[mode] @ noise[..., None])[..., 0]
    move = Langevin(MIXTURE.score, step, 10, MIXTURE.log_prob if adjusted else None)
    y = move(1.0, x, reward, generator)
    nothing = torch.zeros(POPULATIONS, 64, dtype=torch.float64)
    return Tilted(y, nothing, nothing[:0], nothing[:0])


def test_moves_that_are_accepted_or_refused_keep_the_law(check: Check) -> None:
    check.at_most(float(scores(moved(0.3, True))[:-1].abs().max()), BOUND)
    assert scores(moved(0.3, False))[:-1].abs().max() > BOUND


def test_moves_spread_what_resampling_has_repeated() -> None:
    def different(moves: str) -> int:
        return len(drawn(moves).x.unique(dim=0))

    assert different("none") < 0.9 * len(drawn("none").x)
    assert different("accepted or refused") > different("none")


def test_draws_of_equal_weight_have_the_law_too(check: Check) -> None:
    x = drawn("none").draw(torch.Generator().manual_seed(1))
    error = drawn("none").mean(statistics(x))[1]
    check.at_most(float(((statistics(x).mean(0) - expected()) / error).abs().max()), 1.5 * BOUND)


def test_single_precision(check: Check) -> None:
    problem = problems.gaussian(*gaussian_parameters(), interpolants.linear())
    x = normal(4, 5, 2)
    check.vanishes(residuals.tilting(problem.X, problem.b, bumpy, 0.4, x.float()), SINGLE, scale=3)


def test_negative_control(check: Check) -> None:
    for known in CASES:
        x = known.states(4, 5)
        maps = (Perturbed(known.X, delta) for delta in (1e-3, 5e-4))
        wrong, half = (residuals.tilting(X, known.b, bumpy, 0.4, x) for X in maps)
        check.sees(wrong, half, CLOSED_FORM)


def test_negative_control_of_the_sampler() -> None:
    """Particles without their weights, weights of a reward that is wrong by 10 %, and moves that nobody refuses."""
    particles = drawn("none")
    plain = Tilted(particles.x, 0 * particles.log_weights, particles.effective, particles.resampled)
    assert scores(plain)[:-1].abs().max() > BOUND
    x0 = MIXTURE.sample_base(64 * POPULATIONS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wrong = tilt(MAP, lambda x: 1.1 * reward(x), x0, uniform(1), populations=POPULATIONS)
    assert scores(wrong).abs().max() > BOUND
    source, unadjusted = torch.Generator().manual_seed(3), Langevin(MIXTURE.score, 0.3)
    biased = tilt(MAP, reward, x0, uniform(4), langevin=unadjusted, populations=POPULATIONS, generator=source)
    assert scores(biased).abs().max() > BOUND
