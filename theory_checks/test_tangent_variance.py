r"""Every mixture of MeanFlow's tangents has one mean gradient at the flow map, and a variance that is a parabola.

`meanflow` with `tangent` $=\beta$ follows $w=\beta\dot I_s+(1-\beta)v_{s,s}$. At the flow map its difference is
$$v_{s,t}(I_s)-\dot I_s-(t-s)(\partial_s+w\cdot\nabla)v_{s,t}(I_s)=\big((1-\beta)\,1+\beta\,\nabla X_{s,t}(I_s)\big)\,
(b_s-\dot I_s)$$
(a line: the tangent $b_s$ gives $b_s-\dot I_s$, and $\beta(t-s)\nabla v\,(\dot I_s-b_s)$ is what is more). It has no
mean given $I_s$; the variance of a gradient is quadratic in $\beta$, with in one dimension and $J=\nabla X_{s,t}$, $f$
the feature that the gradient sees,
$$\beta^*=\frac{\mathbb E[f^2|b_s-\dot I_s|^2(1-J)]}{\mathbb E[f^2|b_s-\dot I_s|^2(1-J)^2]}.$$
So the abstract's claim, that a mixture beats both ends, is true where $0<\beta^*<1$ and not always:

| law of the data | $J$ of the map from 0.1 to 0.9 | $\beta^*$, variance |
|---|---|---|
| normal, variance 0.2 | 0.46 | 1.85: MeanFlow is best, a fifth of the other end |
| normal, variance 2.5 | 1.56 | -1.78: improved MeanFlow is best |
| modes at $\pm0.5$, variance 0.02 | 0.2 to 8.5 | 0.51: a mixture is best, 23 % below both ends |
| modes at $\pm1.5$, variance 0.3 | 0.56 to 20 | -0.11: improved MeanFlow is best, an eighth of the other end |

MeanFlow's tangent multiplies the noise by what the flow map expands it by, improved MeanFlow's leaves it as it is.

Source: 2605.09235 (its abstract); 2505.13447; 2512.02012.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops._arguments import per_event
from flowops.methods import Method, get_method
from theory_checks.cases import SINGLE
from theory_checks.gradients import along, batch, differ, gradient, random_map
from theory_checks.method_families import Family
from theory_checks.method_settings import At, Setting
from theory_checks.verdicts import Check

I = interpolants.linear()
S, T = 0.1, 0.9
SHARES = (0.0, 0.5, 1.0)
Modes = tuple[tuple[float, float, float], ...]
LAWS: dict[
    str, tuple[Modes, tuple[float, float]]
] = {  # weight, mean, variance of the modes, and where the best share of the conditional velocity lies
    "small": (((1.0, 0.7, 0.2),), (1.0, torch.inf)),
    "large": (((1.0, 0.7, 2.5),), (-torch.inf, 0.0)),
    "near modes": (((0.5, 0.5, 0.02), (0.5, -0.5, 0.02)), (0.50, 0.52)),
    "far modes": (((0.5, 1.5, 0.3), (0.5, -1.5, 0.3)), (-torch.inf, 0.0)),
}


class Monotone(FlowMap):
    r"""The flow map of a scalar mixture: $X_{s,t}=F_t^{-1}\circ F_s$ of the laws' distribution functions."""

    def __init__(self, modes: Modes) -> None:
        super().__init__()
        self.modes = modes
        weights, means, variances = zip(*modes, strict=True)
        variance = torch.tensor(variances, dtype=torch.float64)[:, None]
        self.b = problems.gaussian_mixture(list(weights), [[m] for m in means], variance, I).b

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        (below, above), low, high = self.tails(s, x), torch.full_like(x, -30.0), torch.full_like(x, 30.0)
        for _ in range(60):
            middle = (low + high) / 2
            less, more = self.tails(t, middle)
            under = torch.where(below < above, less < below, more > above)  # by the smaller tail, for its digits
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2

    def average_velocity(self, s, t, x):
        s, t = self._operands(s, t, x)
        return (self(s, t, x) - x) / per_event(t - s, x)

    def material_derivative(self, s, t, x, u):
        s, t = self._operands(s, t, x)
        return self.density(s, x) / self.density(t, self(s, t, x)) * (u - self.b(s, x))

    def velocity(self) -> VelocityField:
        return self.b

    def tails(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The distribution function of the interpolant, and one less it."""
        halves = [(w / 2, z / math.sqrt(2)) for w, _, z in self.standard(t, x)]
        terms = [(w * torch.erfc(-z), w * torch.erfc(z)) for w, z in halves]
        below, above = zip(*terms, strict=True)
        return torch.stack(below).sum(0), torch.stack(above).sum(0)

    def density(self, t: Tensor, x: Tensor) -> Tensor:
        """Its derivative."""
        return torch.stack([w * normal_density(z) / d for w, d, z in self.standard(t, x)]).sum(0)

    def standard(self, t: Tensor, x: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Of each mode its weight, its deviation and the state in units of it."""
        for weight, mean, variance in self.modes:
            deviation = per_event(((1 - t) ** 2 + t**2 * variance).sqrt(), x)
            yield weight, deviation, (x - per_event(t * mean, x)) / deviation


def normal_density(z: Tensor) -> Tensor:
    return torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


@cache
def setting(name: str) -> Setting:
    r"""States whose ends are a uniform grid, and for each mode two nodes of the data given the state.

    The nodes are exact for squares of $\dot I_s$, and the ends resolve where the map expands.
    """
    X = Monotone(LAWS[name][0])
    y = torch.linspace(-8.0, 8.0, 800, dtype=torch.float64)
    x = X(T, S, y)
    steps = (y[1] - y[0]) * X.density(torch.full_like(y, T), y) / X.density(torch.full_like(y, S), x)
    base, data, law = [], [], []
    for weight, mean, variance in X.modes:
        own = (1 - S) ** 2 + S**2 * variance
        centre, spread = mean + S * variance / own * (x - S * mean), math.sqrt((1 - S) ** 2 * variance / own)
        density = weight * normal_density((x - S * mean) / math.sqrt(own)) / math.sqrt(own) * steps
        for sign in (1, -1):
            x1 = centre + sign * spread
            base.append((x - S * x1) / (1 - S))
            data.append(x1)
            law.append(density / 2)
    x0, x1, weights = torch.cat(base), torch.cat(data), torch.cat(law)
    kept = weights > 1e-14
    return Setting(name, X.b, X, I, x0[kept, None], x1[kept, None], weights=weights[kept])


def mixed(share: float) -> Method:
    return get_method("meanflow", eta=0.0, tangent=share, law=At(S, T))


@cache
def gradients(name: str, share: float, delta: float = 0.0) -> Tensor:
    """Of the loss of each sample by its own coefficient of one feature, `[n]`."""
    held = setting(name)
    X = Family(held.X, 1, torch.full((len(held.x0), 1), delta, dtype=torch.float64), count=1)
    loss = mixed(share)(X, I, held.x0, held.x1, seed=0).per_sample.sum()
    return torch.autograd.grad(loss, X.theta)[0][:, 0]


@cache
def parts(name: str) -> tuple[Tensor, Tensor, Tensor]:
    r"""$2f(b_s-\dot I_s)$ and $J$ at the nodes, and their weights, without a method."""
    held = setting(name)
    one = torch.ones(len(held.x0), dtype=torch.float64)
    x = held.I(S * one, held.x0, held.x1)
    noise = held.b(S, x) - (held.x1 - held.x0)
    J = along(lambda h: held.X(S, T, x + h), 2e-4)
    family = Family(held.X, 1, count=1)
    feature = family.g.phase(S * one, T * one, x).sin() * family.g.v[:, 0]
    assert held.weights is not None
    return (2 * feature * noise)[:, 0], J[:, 0], held.weights


def variance(name: str, share: float) -> float:
    """Of the gradient as the method has it."""
    g, weights = gradients(name, share), setting(name).weights
    assert weights is not None
    return float(weights @ (g - weights @ g).square())


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("share", SHARES)
def test_the_gradient_of_a_sample(check: Check, name: str, share: float) -> None:
    noise, J, weights = parts(name)
    g = gradients(name, share)
    check.vanishes(g - noise * (1 - share + share * J), 1e-7, scale=(1 + noise.abs()) * J.max())
    check.vanishes(weights @ g, 1e-9)  # one mean, whatever the share


@pytest.mark.parametrize("name", LAWS)
def test_the_variance_is_a_parabola(check: Check, name: str) -> None:
    noise, J, weights = parts(name)
    best = float(weights @ (noise.square() * (1 - J)) / (weights @ (noise.square() * (1 - J).square())))
    low, middle, high = (variance(name, share) for share in SHARES)
    curvature, slope = 2 * (low + high - 2 * middle), 4 * middle - 3 * low - high  # through three points
    check.vanishes(torch.tensor(-slope / (2 * curvature) - best), 1e-6)
    least, most = LAWS[name][1]
    assert least < best < most
    inside = variance(name, min(max(best, 0.0), 1.0))
    assert inside <= min(low, high) * (1 + 1e-9)
    if 0 < best < 1:
        assert inside < 0.8 * min(low, high)


def test_negative_control(check: Check) -> None:
    """At a map off by delta the mean gradient is seen, and grows like delta; other tangents are other gradients."""
    held = setting("near modes")
    assert held.weights is not None
    wrong, half = (held.weights @ gradients("near modes", 0.5, delta) for delta in (1e-2, 5e-3))
    check.sees(wrong, half, 1e-9)
    X, samples = random_map(3), batch(3)
    for one, other in ((0.0, 0.5), (0.5, 1.0)):
        differ(*(gradient(get_method("meanflow", eta=0.0, tangent=share), X, I, samples) for share in (one, other)))


def test_at_the_edges(check: Check) -> None:
    """A batch of one, image-shaped states, equal times, float32: the mixture of gradients is that of the ends."""
    for n, event, dtype, law in (
        (1, (2,), torch.float64, None),
        (4, (1, 2, 2), torch.float64, None),
        (4, (2,), torch.float64, At(0.4, 0.4)),
        (4, (2,), torch.float64, At(0.8, 0.3)),
        (4, (2,), torch.float32, None),
    ):
        X, samples = random_map(5, event).to(dtype), batch(5, n, event, dtype)
        low, middle, high = (
            gradient(get_method("meanflow", eta=0.0, tangent=share, law=law), X, I, samples) for share in SHARES
        )
        assert middle.dtype == dtype
        tolerance = 1e-10 if dtype == torch.float64 else SINGLE
        check.vanishes((low + high) / 2 - middle, tolerance, scale=1 + middle.abs().max())
