r"""$\log|\det\nabla X_{s,t}(x)|$ of large events, by random signs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_times, number, whole
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields.divergence import inner, rademacher
from flowops.maps.bidiagonal import bidiagonalize
from flowops.maps.flow_map import FlowMap


@dataclass(frozen=True)
class LogDetEstimate:
    r"""An estimate of $\log|\det\nabla X_{s,t}(x)|$.

    Attributes:
        value: mean over the probes, `[batch]`.
        standard_error: its standard error, `[batch]`; NaN for a single probe.
        truncation: how far what was left out may have moved the value, `[batch]`.
    """

    value: PerSample
    standard_error: PerSample
    truncation: PerSample


@dataclass(frozen=True, kw_only=True)
class _Probed(ABC):
    """An estimate from random signs: all probes of all samples are one batch."""

    probes: int = 8
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        whole(self.probes, "probes", 1)

    def __call__(self, X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> LogDetEstimate:
        check_state(x)
        s, t = expand_times(s, t, x)
        signs = rademacher(x, self.probes, self.generator).flatten(0, 1)
        rows = torch.arange(len(x), device=x.device).repeat(self.probes)
        draws, left = (
            z.reshape(self.probes, len(x)) for z in self._draws(X.subset(rows), s[rows], t[rows], x[rows], signs)
        )
        value = draws.mean(0)
        spread = (draws - value).square().sum(0) / max(self.probes - 1, 1) / self.probes
        error = spread.sqrt() if self.probes > 1 else torch.full_like(value, torch.nan)
        return LogDetEstimate(value, error.detach(), left.mean(0).detach())

    @abstractmethod
    def _draws(self, X: FlowMap, s: Times, t: Times, x: State, e: State) -> tuple[Tensor, Tensor]:
        """The estimate of each probe `e` and what may have been left out of it."""


@dataclass(frozen=True, kw_only=True)
class LogDetSeries(_Probed):
    r"""$\log\det(I+A)=\sum_{k\ge1}\tfrac{(-1)^{k+1}}k\mathrm{tr}A^k$ with $A=\nabla X_{s,t}-I=(t-s)\nabla v_{s,t}$.

    Each trace is the mean of $e^\top A^ke$ over random signs. The series converges where the spectral radius of $A$ is
    less than one, hence for short steps; elsewhere use `LogDetLanczos`. What is left out of a probe after $K$ terms is
    at most $\tfrac{q}{(K+1)(1-q)}|e||A^Ke|$ where $\|A\|_2\le q$. Such a $q$ is `norm`, and without one the growth of
    the last term, which makes an estimate of the bound; it is infinite for $q\ge1$.

    Args:
        terms: $K$.
        probes: random signs for each sample.
        norm: a bound of $\|A\|_2$ for all samples, less than 1; not beside `roulette`, which leaves nothing out.
        roulette: go on after $K$ terms for a random number of more, each weighted by the inverse of the probability of
            getting there, $2^{K-k}$: nothing is left out in the mean; the variance is finite for $\|A\|_2<2^{-1/2}$.
        generator: source of the probes.

    >>> X = FlowMap.from_function(lambda s, t, x: x * (1 + (t - s)[:, None] * torch.tensor([0.5, -0.2])))
    >>> found = LogDetSeries(terms=20, probes=4)(X, 0.0, 1.0, torch.ones(1, 2))
    >>> found.value, found.standard_error  # of a Jacobian that is diagonal every sign says the same
    (tensor([0.1823]), tensor([0.]))

    Raises:
        ValueError: for numbers that are none.

    Cost: a `jvp` a term on a batch `probes` times as large. Source: Hutchinson 1989; Behrmann et al. 1811.00995; Chen
    et al. 1906.02735 (roulette). Checked by `theory_checks/test_log_determinants_by_random_signs.py`.
    """

    terms: int = 16
    norm: float | None = None
    roulette: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.terms, "terms", 1)
        if self.norm is not None and not 0 <= number(self.norm, "norm") < 1:
            raise ValueError(f"`norm` must be at least 0 and less than 1, got {self.norm}; take shorter steps.")
        if self.norm is not None and self.roulette:
            raise ValueError(
                "`norm` must be left out beside `roulette`, which leaves nothing out; drop one of the two."
            )

    def _draws(self, X: FlowMap, s: Times, t: Times, x: State, e: State) -> tuple[Tensor, Tensor]:
        more = self._more(x)
        power = before = e
        total = torch.zeros_like(inner(e, e))
        for k in range(1, self.terms + int(more.max() if len(x) else 0) + 1):
            power, before = X.jvp(s, t, x, power) - power, power
            weight = torch.where(more >= k - self.terms, 2.0 ** max(k - self.terms, 0), 0).to(x.dtype)
            total = total + weight * (-1) ** (k + 1) / k * inner(e, power)
        if self.roulette:
            return total, torch.zeros_like(total)
        last, one = inner(power, power).sqrt(), inner(before, before).sqrt()
        q = torch.full_like(last, self.norm) if self.norm is not None else last / torch.where(one > 0, one, 1)
        left = inner(e, e).sqrt() * last * q / ((self.terms + 1) * torch.where(q < 1, 1 - q, 1))
        return total, torch.where(q < 1, left, math.inf)

    def _more(self, x: State) -> Tensor:
        """How many terms beyond `terms` each probe goes."""
        if not self.roulette:
            return torch.zeros(len(x), device=x.device)
        draws = 1 - torch.rand(len(x), generator=self.generator, device=x.device)
        return (-draws.log2().floor() - 1).clamp(min=0)


@dataclass(frozen=True, kw_only=True)
class LogDetLanczos(_Probed):
    r"""$\log|\det M|=\tfrac12\mathrm{tr}\log M^\top M$ for $M=\nabla X_{s,t}(x)$, by Gauss quadrature of each probe.

    $e^\top\log(M^\top M)\,e$ is an integral over the spectrum, and `steps` of Golub-Kahan bidiagonalization from $e$
    give the Gauss rule of as many points: exact for $d$ of them, an overestimate before, for every $M$ that is not
    singular. The `truncation` is the change that the last step made.

    Args:
        steps: $k$, at most $d$ are taken.
        probes: random signs for each sample.
        generator: source of the probes.

    >>> X = FlowMap.from_function(lambda s, t, x: x * (1 + (t - s)[:, None] * torch.tensor([2.0, -5.0])))
    >>> LogDetLanczos(probes=2)(X, 0.0, 1.0, torch.ones(1, 2)).value  # log 12, where no series converges
    tensor([2.4849])

    Raises:
        ValueError: for numbers that are none.

    Cost: `steps` of `jvp` and `vjp` on a batch `probes` times as large, and as many vectors of its size twice. Source:
    Golub, Meurant 1994; Ubaru, Chen, Saad 2017. Checked by `theory_checks/test_log_determinants_by_random_signs.py`.
    """

    steps: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.steps, "steps", 1)

    def _draws(self, X: FlowMap, s: Times, t: Times, x: State, e: State) -> tuple[Tensor, Tensor]:
        found, size = bidiagonalize(X, s, t, x, e, self.steps), inner(e, e)
        k, d = found.matrices.shape[-1], x.shape[1:].numel()
        value = size * found.log_quadratic_form(k)
        if k == d:
            return value, torch.zeros_like(value)
        return value, (value - size * found.log_quadratic_form(k - 1)).abs() if k > 1 else value.abs()
