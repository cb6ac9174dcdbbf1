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
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems, residuals
from flowops._arguments import per_event
from flowops.methods import get_method
from theory_checks.cases import SINGLE
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
MODES = ((0.4, -1.0, 0.3), (0.6, 0.9, 0.2))  # weight, mean, variance of the target
RESOLVED = 1e-8  # by the grid
Function = Callable[[Tensor], Tensor]
GRID = torch.linspace(-7.0, 7.0, 40_001, dtype=torch.float64)
PROBLEM = problems.gaussian_mixture(
    [w for w, _, _ in MODES], [[m] for _, m, _ in MODES], torch.tensor([[v] for _, _, v in MODES]).double(), I
)
FUNCTIONS: dict[str, Function] = {
    "mean": lambda y: y,
    "second moment": lambda y: y**2,
    "a mode": lambda y: torch.sigmoid(8 * y),
}


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


def weighted(X: FlowMap, f: Function, tilt: float = 0.0) -> float:
    r"""$\mathbb E\,wf/\mathbb Ew$ by the trapezoid rule in $x$, the log-determinant off by `tilt` $x$."""
    y, slope = X(0.0, 1.0, GRID), X.log_abs_det(0.0, 1.0, GRID)
    mass = target(y) * torch.exp(slope + tilt * GRID)  # times the base density, which the weight divides by
    return float((mass * f(y)).sum() / mass.sum())


def expected(f: Function, preimages: Tensor | None = None) -> float:
    """The mean of the target times the number of preimages of the grid's points, 1 if not given."""
    mass = target(GRID) * (1 if preimages is None else preimages)
    return float((mass * f(GRID)).sum() / mass.sum())


def counted(X: FlowMap) -> Tensor:
    """How many intervals of the grid have an image that holds each of its points."""
    y = X(0.0, 1.0, GRID)
    low, high = (torch.sort(end(y[:-1], y[1:])).values for end in (torch.minimum, torch.maximum))
    return torch.searchsorted(low, GRID) - torch.searchsorted(high, GRID)


EVERY = pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)


def test_at_the_flow_map_every_weight_is_one(check: Check) -> None:
    x = torch.linspace(-3, 3, 9, dtype=torch.float64)[:, None]
    X = PROBLEM.b.flow_map()
    w = target(X(0.0, 1.0, x)[:, 0]) * X.log_abs_det(0.0, 1.0, x).exp() / base(x[:, 0])
    check.vanishes(w - 1, 1e-5)


@pytest.mark.parametrize("event", [(), (2,), (1, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_states_of_any_shape_and_single_precision(check: Check, event: tuple[int, ...], dtype: torch.dtype) -> None:
    """A Gaussian pair in closed form; a batch of one too."""
    gaussian = problems.gaussian(torch.full(event, 0.7, dtype=torch.float64) if event else 0.7, 0.4, I)
    for n in (5, 1):
        x = normal(3, n, *event).to(dtype)
        y, slope = gaussian.X(0.0, 1.0, x), gaussian.X.log_abs_det(0.0, 1.0, x)
        ends = [z.reshape(n, -1).square().sum(1) for z in (x, (y - 0.7) / 0.4**0.5)]
        log_weight = (ends[0] - ends[1]) / 2 - math.log(0.4) / 2 * x[0].numel() + slope
        assert slope.dtype == dtype
        check.vanishes(log_weight, 1e-9 if dtype == torch.float64 else SINGLE, scale=1 + ends[0].max())


@EVERY
@pytest.mark.parametrize("amplitude", [0.0, 0.2, -0.45])
def test_a_wrong_bijection_is_right_by_its_weights(check: Check, f: Function, amplitude: float) -> None:
    X = Bent(amplitude)
    check.vanishes(counted(X)[5000:-5000] - 1.0, 0.0)
    check.at_most(abs(weighted(X, f) - expected(f)), RESOLVED)


def test_without_weights_a_wrong_bijection_is_wrong() -> None:
    for amplitude in (0.0, 0.2, -0.45):
        y, weights = Bent(amplitude)(0.0, 1.0, GRID), base(GRID) / base(GRID).sum()
        assert max(abs(float(weights @ f(y)) - expected(f)) for f in FUNCTIONS.values()) > 0.02


@EVERY
@pytest.mark.parametrize("amplitude", [0.8, 1.5])
def test_a_fold_is_biased_by_the_number_of_preimages(check: Check, f: Function, amplitude: float) -> None:
    X = Bent(amplitude)
    N = counted(X)
    assert N.max() > 2
    check.at_most(abs(weighted(X, f) - expected(f, N)), 2e-3)  # the grid's at the ends of the folds
    if f is FUNCTIONS["mean"]:
        assert abs(weighted(X, f) - expected(f)) > 0.02


def test_a_fold_has_no_inverse_whatever_the_map_is_backward(check: Check) -> None:
    """Residuals at two preimages of one point differ by their distance."""
    X = Bent(1.5)
    y = X(0.0, 1.0, GRID)
    level = float(X(0.0, 1.0, torch.tensor([math.pi / 2], dtype=torch.float64)))
    crossed = ((y[:-1] < level) != (y[1:] < level)).nonzero()[:, 0]
    x = GRID[crossed] + (level - y[crossed]) / (y[crossed + 1] - y[crossed]) * (GRID[1] - GRID[0])
    assert len(x) == int(counted(X)[torch.searchsorted(GRID, level)]) == 3
    for backward in (1.0, 0.3, -2.0):
        Y = FlowMap.from_function(lambda s, t, z, c=backward: torch.where(t > s, X(s, t, z), c * z))
        r = residuals.inverse(Y, 0.0, 1.0, x)
        check.vanishes(r[:, None] - r + (x[:, None] - x), 1e-6)
        assert r.abs().max() >= (x.max() - x.min()) / 2


def test_the_option_is_the_square_of_that_residual(check: Check) -> None:
    X, x0, x1 = Bent(0.8), normal(1, 6), normal(2, 6)
    whole, plain = (get_method("regression", inverse=s)(X, I, x0, x1, teacher=PROBLEM.X or X, seed=3) for s in (0.3, 0))
    x = I(plain.s, x0, x1)
    wanted = 0.3 * residuals.inverse(X, plain.s, plain.t, x).square()
    check.vanishes(whole.per_sample - plain.per_sample - wanted, 1e-12)


def test_negative_control(check: Check) -> None:
    """A log-determinant that is off by delta x is seen, and grows like delta."""
    f = FUNCTIONS["mean"]
    wrong, half = (torch.tensor(weighted(Bent(0.2), f, d) - expected(f)) for d in (1e-2, 5e-3))
    check.sees(wrong, half, RESOLVED)
