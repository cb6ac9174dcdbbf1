r"""Any law of the intermediate time on the open interval has the flow map for its only zero; its ends have every map.

For $u=\gamma s+(1-\gamma)t$ and a law $p_\gamma$ on $(0,1)$ the loss (21) is the mean over $\gamma$ of losses with a
fixed one, so that it vanishes where the semigroup property holds at almost every $\gamma$ of $p_\gamma$: at the flow
map, for every law. Conversely a map with $v_{t,t}=b_t$ that splits at one $\gamma\in(0,1)$ is its own composition over
$2^k$ steps of lengths $\gamma^j(1-\gamma)^{k-j}(t-s)$, whose largest tends to zero: Euler steps composed so tend to the
flow map, at first order in the largest step, for a fixed $\gamma$ as for a random one. At $\gamma=0$ and $\gamma=1$ one
of the parts has no length and every map splits: the loss is zero and teaches nothing.

Hypotheses: $v$ continuous in both times with $v_{t,t}=b_t$; $b$ Lipschitz (the field of a planar linear system and of a
Gaussian pair, whose maps are closed forms).

Source: 2505.18825 Prop. 2.2 (iii), (15), (21), (55), E after (67).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems, residuals
from flowops.methods import get_method
from theory_checks.cases import CLOSED_FORM, SINGLE, exact_map, gaussian
from theory_checks.controls import Perturbed
from theory_checks.gradients import SAME, Fixed, agree, batch, flat_gradient, random_map
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
N = 24
Law = Callable[[int, torch.Generator], Tensor]


def beta(a: float, b: float) -> Law:
    """A beta law, by the quotient of two gamma variables, inside the open interval."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        one = torch.ones(n, dtype=torch.float64)
        x, y = (torch._standard_gamma(k * one, generator=generator) for k in (a, b))
        return x / (x + y)

    return draw


LAWS: dict[str, Law] = {
    "uniform": lambda n, generator: torch.rand(n, generator=generator, dtype=torch.float64),
    "midpoint": lambda n, _: torch.full((n,), 0.5, dtype=torch.float64),
    "near the start": beta(5.0, 1.0),
    "near both ends": beta(0.3, 0.3),
    "two points": lambda n, generator: torch.where(torch.rand(n, generator=generator) < 0.3, 0.1, 0.8).double(),
}
EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def drawn(law: Law, n: int = N, seed: int = 0) -> Tensor:
    return law(n, torch.Generator().manual_seed(seed))


def split(X: FlowMap, s: Tensor, t: Tensor, gamma: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both forms of what is left of a split."""
    u = gamma * s + (1 - gamma) * t
    return residuals.semigroup(X, s, u, t, x), residuals.semigroup_velocity(X, s, t, gamma, x)


@EVERY
def test_the_flow_map_splits_everywhere(check: Check, law: Law) -> None:
    gamma = drawn(law)
    assert ((gamma > 0) & (gamma < 1)).all()
    for problem in (gaussian(I), problems.REFERENCE["rotation"](I)):
        X, x = exact_map(problem), normal(1, N, 2)
        s, t = torch.rand(2, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        for times in ((s, t), (t, t)):
            for value in split(X, *times, gamma, x):
                check.vanishes(value, CLOSED_FORM, scale=1 + x.abs().max())


@EVERY
def test_at_the_edges(check: Check, law: Law) -> None:
    """A batch of one, image-shaped states and single precision."""
    scalar = exact_map(problems.gaussian(0.7, 0.4, I))
    for x in (normal(3, 1), normal(3, 2, 2, 2)):
        s, t = torch.linspace(0.1, 0.2, len(x)).double(), torch.linspace(0.9, 0.3, len(x)).double()
        X = scalar if x.ndim == 1 else FlowMap.from_function(exact_map(problems.gaussian(normal(4, 2, 2), 0.4, I)))
        for value in split(X, s, t, drawn(law, len(x)), x):
            check.vanishes(value, CLOSED_FORM)
    x, times = normal(5, N).float(), (torch.full((N,), 0.2), torch.full((N,), 0.9))
    for value in split(scalar, *times, drawn(law).float(), x):
        check.vanishes(value, SINGLE)


@pytest.mark.parametrize("form", ["map", "velocity"])
def test_the_uniform_loss_is_the_mean_of_the_fixed_ones(check: Check, form: str) -> None:
    """Sample by sample, the row that draws the split is the row with the split that it drew."""
    X, samples = random_map(1), batch(1)
    uniform = get_method("psd-u", form=form, eta=0.0, law=Fixed())
    draw = uniform.draw(X, I, *samples, seed=3)
    (_, k) = draw.terms
    assert k is not None
    assert k.u is not None
    ours = uniform.evaluate(X, I, draw)
    fixed = []
    for i, gamma in enumerate(((k.t - k.u) / (k.t - k.s)).tolist()):
        one = get_method("psd-u", form=form, eta=0.0, law=Fixed(), gamma=gamma)
        fixed.append(one(X, I, *samples, seed=3).per_sample[i])
    mean = torch.stack(fixed).mean()
    check.vanishes(ours.per_sample - torch.stack(fixed), SAME)
    agree(check, flat_gradient(ours.loss, X), flat_gradient(mean, X))


def composed(X: FlowMap, law: Law, k: int, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """Euler steps over the grid that $k$ splits make, of each sample its own, and the longest of them."""
    grid, generator = torch.stack([s, t]), torch.Generator().manual_seed(6)
    for _ in range(k):
        gaps = len(grid) - 1
        gamma = law(gaps * len(x), generator).reshape(gaps, len(x))
        between = gamma * grid[:-1] + (1 - gamma) * grid[1:]
        grid = torch.cat([torch.stack([grid[:-1], between], 1).flatten(0, 1), grid[-1:]])
    b = X.velocity()
    for start, end in zip(grid[:-1], grid[1:], strict=True):
        x = x + (end - start)[:, None] * b(start, x)
    return x, float(grid.diff(dim=0).abs().max())


@pytest.mark.parametrize("gamma", [0.5, 0.35])
def test_splits_at_one_fraction_make_the_flow_of_the_diagonal(check: Check, gamma: float) -> None:
    X, x = exact_map(gaussian(I)), normal(7, 6, 2)
    s, t = torch.full((6,), 0.1, dtype=torch.float64), torch.linspace(0.3, 0.9, 6, dtype=torch.float64)
    truth, errors, longest = X(s, t, x), [], []
    for k in (4, 5, 6, 7):
        end, step = composed(X, lambda n, _: torch.full((n,), gamma, dtype=torch.float64), k, s, t, x)
        errors.append((end - truth).norm())
        longest.append(step)
    check.vanishes(torch.tensor(longest) - 0.8 * torch.tensor([max(gamma, 1 - gamma) ** k for k in (4, 5, 6, 7)]), 1e-6)
    if gamma == 0.5:
        check.order(torch.stack(errors), torch.tensor(longest), 1.0)
    bound = torch.stack(errors) / torch.tensor(longest)
    assert (bound.diff() < 0.05 * bound[0]).all()  # at most in proportion to the longest step


@EVERY
def test_random_splits_make_it_too(check: Check, law: Law) -> None:
    X, x = exact_map(gaussian(I)), normal(8, 6, 2)
    s, t = torch.full((6,), 0.1, dtype=torch.float64), torch.full((6,), 0.9, dtype=torch.float64)
    truth = X(s, t, x)
    found = [(composed(X, law, k, s, t, x)) for k in (2, 7)]
    (rough, long), (near, short) = (((end - truth).norm(), step) for end, step in found)
    assert short < long
    check.at_most(float((near / short) / (rough / long)), 2.0, where="in the error over the longest step")


@pytest.mark.parametrize("form", ["map", "velocity"])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_at_the_ends_every_map_splits(check: Check, form: str, gamma: float) -> None:
    X, samples = random_map(2), batch(2)
    nothing = get_method("psd-u", form=form, eta=0.0, gamma=gamma)(X, I, *samples, seed=3)
    check.vanishes(nothing.per_sample, SAME)
    check.vanishes(flat_gradient(nothing.loss, X), SAME)
    inside = get_method("psd-u", form=form, eta=0.0, gamma=abs(gamma - 1e-2))(X, I, *samples, seed=3)
    assert inside.per_sample.min() > 1e-9


@EVERY
def test_negative_control(check: Check, law: Law) -> None:
    r"""A map that is off by $\delta$ splits nowhere."""
    x, s, t = normal(9, N, 2), torch.full((N,), 0.2).double(), torch.full((N,), 0.9).double()
    X, gamma = exact_map(gaussian(I)), drawn(law)
    for wrong, half in zip(*(split(Perturbed(X, delta), s, t, gamma, x) for delta in (1e-3, 5e-4)), strict=True):
        check.sees(wrong, half, CLOSED_FORM)
