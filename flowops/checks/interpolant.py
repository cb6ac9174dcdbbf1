r"""Whether a schedule is one, and whether the theory holds on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops.checks.derivatives import density_slopes
from flowops.checks.draws import Draws, draw, tolerance_of
from flowops.checks.examination import Compared, Statement, examine
from flowops.checks.flow_map import PAPER, Subject, equations
from flowops.checks.growth import size
from flowops.checks.posterior import conditional_means, noise_deviation
from flowops.checks.report import Report
from flowops.checks.verdict import DIFFERS, FAILS, HOLDS, Outcome, Verdict
from flowops.interpolants import Interpolant, Property
from flowops.problems import Problem, gaussian, gaussian_mixture

_WEIGHTS, _MEANS, _VARIANCES, _RADIUS = (0.3, 0.7), (-1.5, 1.0), (0.2, 0.4), 8.0
_MEAN, _ROOT = (1.0, -0.5), ((0.8, 0.0), (0.5, 0.4))
_INNER = 0.02  # of the ends, where a conversion has a limit at most
_ROUNDINGS = 256  # of a number of the formulas


def check_interpolant(
    I: Interpolant,
    *,
    ends: bool = True,
    tolerance: float | None = None,
    n: int | None = None,
    seconds: float = 40.0,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    r"""Whether $I$ is a schedule, and whether the theory holds on it; the first broken equation named.

    First what `I.validate()` finds, property by property. Then, for a mixture of two normal laws on the line: the field
    is $\mathbb E[\dot I_t\mid I_t=x]$, conversions give the conditional means and the score, the continuity equation.
    The conditional means are quadratures that resolve the posterior, however narrow it is. Last, for a Gaussian pair in
    the plane: its law is transported, and its closed-form map satisfies the equations of `check_flow_map`.

    Args:
        I: the interpolant.
        ends: whether the laws at the ends must be base and data; False for schedules that do not reach them, such as
            variance preserving ones, whose properties at the ends then only stand in the report.
        tolerance: what counts as zero; 1e-9.
        n: number of samples; 24.
        seconds: of processor time; a statement that is not decided by then stays so.
        seed: of times and states.
        name: of the interpolant in the report; its own if None.

    Raises:
        TypeError: if `I` is no `Interpolant`.
        ValueError: for a tolerance that is none.

    >>> check_interpolant(Interpolant.from_expressions("(1-t)**3", "t*(2-t)")).holds
    True
    >>> check_interpolant(Interpolant.from_expressions("0.99*(1-t)", "t")).first_broken.statement
    'alpha(0) = 1'

    Cost: about a second of processor time. Source: 2505.18825, Lemma A.1, Prop. 2.2; 2303.08797.
    """
    if not isinstance(I, Interpolant):
        raise TypeError(f"`I` must be an Interpolant, got {type(I).__name__}; build one of two functions of t.")
    known = I.validate()
    found = tuple(_verdict(p, ends) for p in known.properties)
    draws = draw([], (0.0, 1.0), None, (2,), n, seed)
    limit = tolerance_of(tolerance, draws.x)
    name = f"the {I.name} interpolant" if name is None else name
    if not known.usable or not I.gaussian_base:
        return Report(name, found, known.remarks)
    report = examine(name, statements(Schedule(I, draws, limit)), limit, seconds, lambda: I.alpha(draws.t))
    return Report(name, found + report.verdicts, known.remarks)


def _verdict(p: Property, ends: bool) -> Verdict:
    """A property as a verdict."""
    outcome: Outcome = HOLDS if p.passed else DIFFERS if p.end_law and not ends else FAILS
    there = p.error or f"it is {p.value:.10g} at t = {p.time:.10g}, wanted {p.wanted}"
    return Verdict(p.name, "definition", outcome, reason="" if p.passed else there)


@dataclass(frozen=True)
class Schedule:
    """A schedule, times and states of the two laws that it is looked at with, and what counts as zero."""

    I: Interpolant
    draws: Draws
    tolerance: float

    @cached_property
    def mixture(self) -> Problem[Any, Any]:
        """Two modes on the real line."""
        return gaussian_mixture(_WEIGHTS, [[mean] for mean in _MEANS], _VARIANCES, self.I)

    @cached_property
    def pair(self) -> Problem[Any, Any]:
        """A planar normal law with full covariance."""
        root = torch.tensor(_ROOT, dtype=torch.float64)
        return gaussian(torch.tensor(_MEAN, dtype=torch.float64), root @ root.mT, self.I)

    @cached_property
    def t(self) -> Tensor:
        """Times inside the interval, its edges and those in between, `[n]`."""
        return (_INNER + (1 - 2 * _INNER) * self.draws.t).sort().values

    @cached_property
    def x(self) -> Tensor:
        """A state of the mixture at each of them, `[n, 1]`."""
        return self.mixture.sample(self.t, len(self.t), generator=self.draws.generator(), dtype=torch.float64)

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """The conditional means of noise and data, by quadrature, `[n, 1]` each."""
        noise, data = conditional_means(self.I, self.t, self.x[:, 0], _prior, _RADIUS)
        return noise[:, None], data[:, None]

    @cached_property
    def subject(self) -> Subject:
        """The closed-form map of the pair as a map to check, at states that have its law at their time."""
        d = self.draws
        x = self.pair.sample(d.s, len(d.s), generator=d.generator(), dtype=torch.float64)
        return Subject(self.pair.X, self.pair.b, replace(d, x=x), self.tolerance)

    def compared(self, left: Tensor, right: Tensor, rounding: Tensor | float = 0.0, of: str = "") -> Compared:
        """Two sides at the states of the mixture; `rounding` is the size of the numbers that cancel."""
        error = _ROUNDINGS * torch.finfo(torch.float64).eps * (torch.zeros_like(self.t) + rounding)
        return Compared(left, right, {"t": self.t}, self.x, 1 + size(right), error, of)


def statements(of: Schedule) -> list[Statement]:
    """What is to hold of a schedule, in logical order."""
    known = [Statement("Field: b_t(x) = E[dI_t/dt | I_t = x]", f"{PAPER} (2)", lambda: field(of))]
    if not of.I.has_latent:
        known.append(
            Statement(
                "Conversions: velocity gives noise, denoiser, score", "2303.08797; Tweedie", lambda: conversions(of)
            )
        )
    known += [
        Statement(
            "Continuity: d/dt log rho + div b + b . grad log rho = 0", f"{PAPER} Lemma A.1", lambda: continuity(of)
        ),
        Statement(
            "Transport: X_{s,t} carries the normal law to that at t", f"{PAPER} Lemma A.1", lambda: transport(of)
        ),
    ]
    return known + equations(of.subject)


def field(of: Schedule) -> Compared:
    r"""The closed form against $\dot\sigma_t\,\mathbb E[\varepsilon|x]+\dot\beta_t\,\mathbb E[x_1|x]$."""
    I, t, (noise, data) = of.I, of.t, of.means
    rate = ((I.alpha_alpha_dot(t) + I.gamma_gamma_dot(t)) / noise_deviation(I, t))[:, None]
    velocity = rate * noise + I.beta_dot(t)[:, None] * data
    return of.compared(of.mixture.b(t, of.x), velocity, size(rate * noise) + size(of.x) * I.beta_dot(t).abs())


def conversions(of: Schedule) -> list[Compared]:
    """The readings of the field against the conditional means, and the score against that of the density.

    Conversions are linear, with coefficients that grow where alpha or beta vanish: what rounding makes of the field and
    of the state there is known, and allowed.
    """
    I, t, x = of.I, of.t, of.x
    b = of.mixture.b(t, x)
    known = {"noise": of.means[0], "denoiser": of.means[1], "score": -of.means[0] / I.alpha(t)[:, None]}
    found = []
    for target, truth in known.items():
        value = I.convert(t, x, b, "velocity", target)
        found.append(of.compared(value, truth, magnified(I, t, x, b, target), of=f"velocity to {target}"))
    grad, slope = of.mixture.score(t, x), density_slopes(of.mixture.log_prob, t, x)[1]
    return [*found, of.compared(slope, grad, size(grad), of="the score of the density")]


def magnified(I: Interpolant, t: Tensor, x: Tensor, b: Tensor, target: str) -> Tensor:
    """The numbers that cancel where a velocity is converted, `[batch]`: large where alpha or beta are small."""
    unit, zero = torch.ones_like(x), torch.zeros_like(x)
    return size(I.convert(t, unit, zero, "velocity", target) * x) + size(
        I.convert(t, zero, unit, "velocity", target) * b
    )


def continuity(of: Schedule) -> Compared:
    """The rate of the closed-form density along trajectories and minus the divergence."""
    dt, score = density_slopes(of.mixture.log_prob, of.t, of.x)
    b, divergence = of.mixture.b(of.t, of.x), of.mixture.b.divergence(of.t, of.x)
    transported = (b * score)[:, 0]
    rounding = dt.abs() + transported.abs() + divergence.abs()
    return of.compared(dt + transported, -divergence, rounding * (1 + size(of.x) / noise_deviation(of.I, of.t)))


def transport(of: Schedule) -> list[Compared]:
    """Mean and covariance that the map makes of those at the start, against those at the end."""
    d, X = of.draws, of.pair.X
    (mean, covariance), (mean_there, there) = moments(of.I, d.s), moments(of.I, d.t)
    slope = X.jacobian(d.s, d.t, mean)
    times = {"s": d.s, "t": d.t}
    carried = slope @ covariance @ slope.mT
    sizes = 1 + size(mean_there), 1 + size(there)
    rounding = _ROUNDINGS * torch.finfo(torch.float64).eps * size(slope) * (1 + size(mean))
    return [
        Compared(X(d.s, d.t, mean), mean_there, times, mean, sizes[0], rounding, "the mean"),
        Compared(carried, there, times, mean, sizes[1], rounding, "the covariance"),
    ]


def moments(I: Interpolant, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[n, 2]` and covariance `[n, 2, 2]` of the normal pair, from the definition of $I_t$."""
    root = torch.tensor(_ROOT, dtype=torch.float64)
    beta, noise = I.beta(t)[:, None], I.alpha(t) ** 2 + I.gamma(t) ** 2
    spread = noise[:, None, None] * torch.eye(2, dtype=torch.float64) + beta[..., None] ** 2 * (root @ root.mT)
    return beta * torch.tensor(_MEAN, dtype=torch.float64), spread


def _prior(x: Tensor) -> Tensor:
    """The density of the mixture, up to a factor."""
    parts: Sequence[Tensor] = [
        w * torch.exp(-((x - m) ** 2) / (2 * v)) / v**0.5 for w, m, v in zip(_WEIGHTS, _MEANS, _VARIANCES, strict=True)
    ]
    return torch.stack(list(parts)).sum(0)
