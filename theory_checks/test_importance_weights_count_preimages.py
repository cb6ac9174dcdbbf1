r"""Importance weights of a map integrate every function against the target, times the number of preimages.

A learned map $X=X_{0,1}$ proposes $y=X(x)$ for $x\sim\rho_0$ with the weight
$w(x)=\rho_1(X(x))\,|\det\nabla X(x)|/\rho_0(x)$, as if $y$ had the density $\rho_0(x)/|\det\nabla X(x)|$. By the area
formula
$$\mathbb E\,w(x)\,f(X(x))=\int f(y)\,N(y)\,\rho_1(y)\,dy,\qquad N(y)=\#\{x:X(x)=y\},$$
so that $\mathbb Ewf/\mathbb Ew$ is $\int f\rho_1$ for every $f$ where $X$ is a bijection, at the flow map with weights
that are all 1, at a wrong map with others; and where $X$ folds it is biased towards what the fold covers more than
once, however many samples are drawn. The residual of the inverse $X_{1,0}(X_{0,1}(x))-x$ can vanish everywhere only if
$N\le1$: two points of one image would need two values. That is what the option `inverse` of every row asks for; the
semigroup, Lagrangian and Eulerian losses ask it where they vanish.

Hypotheses: $X$ smooth with almost every value regular, $\rho_0>0$, a fold inside the support; base and target in one
dimension, where $N$ is counted.

Source: 2512.09914 (FALCON; its abstract, for the use and the term); Federer, Geometric Measure Theory, 3.2.3.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems, residuals
from flowops._arguments import per_event
from flowops.methods import get_method
from theory_checks.cases import SINGLE
from theory_checks.data_laws import CENTERS
from theory_checks.method_families import Family
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
MODES = ((0.4, -1.0, 0.3), (0.6, 0.9, 0.2))  # weight, mean, variance of the target
RESOLVED = 2e-6  # by the grid, at a fold
GRID = torch.linspace(-7.0, 7.0, 40_001, dtype=torch.float64)
PROBLEM = problems.gaussian_mixture(
    [w for w, _, _ in MODES], [[m] for _, m, _ in MODES], torch.tensor([[v] for _, _, v in MODES]).double(), I
)
FUNCTIONS = {"mean": lambda y: y, "second moment": lambda y: y**2, "a mode": lambda y: torch.sigmoid(8 * y)}


def target(y: Tensor) -> Tensor:
    """The density of the data."""
    terms = [w * torch.exp(-((y - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v) for w, m, v in MODES]
    return torch.stack(terms).sum(0)


def base(x: Tensor) -> Tensor:
    return torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


class Bent(FlowMap):
    r"""A map close to the flow of the mixture: $x+(t-s)(c+a\sin2x)$, a bijection for $|a|\,|t-s|<\tfrac12$."""

    def __init__(self, amplitude: float) -> None:
        super().__init__()
        self.amplitude = amplitude

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event(t - s, x).to(x.dtype) * (0.1 + self.amplitude * torch.sin(2 * x))


def weighted(X: FlowMap, f, x: Tensor = GRID) -> float:  # noqa: ANN001
    r"""$\mathbb E\,wf/\mathbb Ew$ by the trapezoid rule in $x$."""
    y, slope = X(0.0, 1.0, x), X.log_abs_det(0.0, 1.0, x).exp()
    w = target(y) * slope / base(x)
    return float((base(x) * w * f(y)).sum() / (base(x) * w).sum())
