r"""W2 of map and flow: at most the root mean square error, and that at most what either residual allows.

With $e=\hat X_{s,t}(x)-X_{s,t}(x)$, $x$ from the law at $s$, $r$ the Lagrangian residual along the learned path and
$\rho$ the Eulerian one along the true path,
$$W_2^2\le\mathbb E|e|^2\le\mathbb E\Big(\int e^{\int\mu}|r|\Big)^2
  \le e^{\int(1+2C_\tau)_+d\tau}\int\mathbb E|r_\tau|^2d\tau,
  \qquad\mathbb E|e|^2\le|t-s|\int\mathbb E|\rho_\tau|^2d\tau,$$
$C_\tau$ a one-sided Lipschitz constant of $b_\tau$: $\frac d{d\tau}|e|^2\le|r|^2+(1+2C)|e|^2$, and Cauchy-Schwarz on
the Eulerian representation. The printed $e^{1+2\int|C|}$ is larger; without the positive part the bound is false for a
field that contracts. One step of a map that was to match $K$ of its teacher's is off by what it misses of them, and by
what they are off.

Hypotheses: $b$ continuous in $t$ and once continuously differentiable in $x$; the residual starts at $s$ (Lagrangian)
or ends at $t$ (Eulerian), not at all pairs of times.

Source: 2406.07507 Props. 3.7, 3.8.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops.certificates import Interval, WassersteinBound, progressive_bound, wasserstein_bounds
from flowops.metrics import wasserstein2
from theory_checks.cases import draw
from theory_checks.converses import named
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

NAMES = ("gaussian", "logistic")
TIMES = ((0.0, 1.0), (0.9, 0.2))


@cache
def setting(name: str, s: float, t: float) -> tuple[FlowMap, Tensor, float, dict[str, Interval]]:
    """A wrong map, draws, its root mean square error, and the bounds."""
    r = named(name)
    x = draw(problems.REFERENCE[name](interpolants.trigonometric()), s, 60, seed=2)
    wrong = Family(r.X, r.size, 0.1)
    found = wasserstein_bounds(wrong, r.b, x, s, t, flow=r.X, nodes=8)
    apart = (wrong(s, t, x) - r.X(s, t, x)).detach().flatten(1).norm(dim=1)
    return wrong, x, float(apart.square().mean().sqrt()), {bound.name: bound.value for bound in found}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("s", "t"), TIMES)
def test_every_bound_holds_for_the_samples(check: Check, name: str, s: float, t: float) -> None:
    """Pair by pair, so for their empirical law too."""
    wrong, x, apart, bounds = setting(name, s, t)
    distance = wasserstein2(wrong(s, t, x).detach(), named(name).X(s, t, x))
    chain = [float(distance), apart, bounds["logarithmic norm"].value, bounds["Lagrangian"].value]
    for smaller, larger in zip(chain, chain[1:], strict=False):
        check.at_most(smaller / larger, 1 + 1e-9)
    check.at_most(apart / bounds["Eulerian"].value, 1 + 1e-9)
    assert all(value.low <= value.value <= value.high for value in bounds.values())


def contracting(rate: float, power: int) -> tuple[VelocityField, FlowMap, FlowMap]:
    r"""$b=-\lambda x$, its flow, and a map that is off by $\tfrac1{10}(t-s)^p$ where nothing contracts it any more."""
    b = VelocityField.from_function(lambda _, x: -rate * x)
    X = FlowMap.from_function(lambda s, t, x: x * torch.exp(-rate * (t - s))[:, None])
    return b, X, FlowMap.from_function(lambda s, t, x: X(s, t, x) + 0.1 * ((t - s) ** power)[:, None])


def test_without_the_positive_part_it_is_false() -> None:
    rate, power = 4.0, 10
    b, X, wrong = contracting(rate, power)
    x = torch.linspace(-1, 1, 8).double()[:, None]
    bounds = {bound.name: bound for bound in wasserstein_bounds(wrong, b, x, flow=X)}
    error, printed = 0.1, bounds["Lagrangian"]
    assert printed.constant is not None
    assert abs(printed.constant.value + rate) < 1e-9
    assert error <= printed.value.value
    signed = printed.value.value * torch.tensor((1 - 2 * rate) / 2).exp()
    assert signed < 0.5 * error, "with the factor exp(int (1 + 2C)) of a negative exponent"
    assert printed.value.value < printed.value.value * torch.tensor((1 + 2 * rate) / 2).exp(), (
        "and with |C| it is loose"
    )


def test_the_eulerian_bound_is_attained_and_sees_a_wrong_field(check: Check) -> None:
    """Of one sign and constant in one dimension: by a field that is wrong by delta it moves by as much."""
    r = named("time-dependent").first
    wrong = FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + 0.2 * (t - s)[:, None])
    x = r.x.expand(2, 1)

    def gap(delta: float) -> Tensor:
        b = r.b + VelocityField.from_function(lambda _, y: torch.full_like(y, delta))
        return torch.tensor(wasserstein_bounds(wrong, b, x, flow=r.X, nodes=8)[2].value.value - 0.2)

    check.vanishes(gap(0.0), 1e-9)
    check.sees(gap(1e-3), gap(5e-4), 1e-6)


def test_one_step_against_several_of_a_teacher(check: Check) -> None:
    wrong, x, apart, _ = setting("gaussian", 0.0, 1.0)
    r = named("gaussian")
    times = [0.0, 0.5, 1.0]
    own = progressive_bound(wrong, r.b, x, times, flow=r.X, nodes=8)
    check.at_most(apart / own.value.value, 1 + 1e-9)
    taught: WassersteinBound = progressive_bound(wrong, r.b, x, times, teacher=r.X, flow=r.X, nodes=8)
    check.vanishes(torch.tensor(taught.value.value - apart), 1e-9)  # of an exact teacher nothing else is left
    assert own.value.level == pytest.approx(0.9)
