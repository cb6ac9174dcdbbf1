r"""A map that splits up to delta is off the flow map by the order of sqrt(delta), if v is Lipschitz at the diagonal.

With the residual $R_{s,u,t}(x)=\hat X_{u,t}(\hat X_{s,u}(x))-\hat X_{s,t}(x)$, times $s=t_0,\dots,t_n=t$ and the true
path $x_k=X_{s,t_k}(x)$ the distance telescopes backward,
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le\sum_k|R_{t_k,t_{k+1},t}(x_k)|
  +\Lambda\,|t_{k+1}-t_k|\,|\hat v_{t_k,t_{k+1}}-v_{t_k,t_{k+1}}|(x_k),$$
$\Lambda$ the Lipschitz constant of $\hat X$. All of it stands at true paths: under the laws of $I_{t_k}$, as the losses
have it. With $|R|\le\delta$, $|\hat v_{t,t}-b_t|\le\eta$ and a Lipschitz constant $\kappa$ of
$\hat v_{s,\cdot}-v_{s,\cdot}$ from its diagonal on, $n=\lceil T\sqrt{\Lambda\kappa/\delta}\rceil$ equal pieces of
$T=|t-s|$ give the bound
$$|\hat X_{s,t}-X_{s,t}|\le\Lambda T\eta+2T\sqrt{\Lambda\kappa\delta}.$$
For the losses, means over $s\le t$ and $u\in[s,t]$, random pieces of a length up to $h$ give
$$\mathbb E|\hat X_{s,t}(I_s)-X_{s,t}(I_s)|^2\le\tfrac{16}{h^3}\mathbb E\,(t-s)|R_{s,u,t}(I_s)|^2
  +8(1+h)\Lambda^2(L_b-\min L_b)+\tfrac23\Lambda^2\kappa^2h^2\quad\text{for every }h\in(0,1],$$
where the first mean is at most $L_{PSD}$; with the best $h$ it is a bound by the power $2/5$ of it.

Neither power can be improved: $\hat X_{s,t}(x)=x+c\,(t-s)\min(|t-s|,h)$ has $b=0$, $\eta=0$, $\kappa=c$,
$\delta=ch^2/2$ and the distance $ch=\sqrt{2\kappa\delta}$ at $T=1$, whose square is of the power $2/5$ of that mean.
With $c=1/h$ and $h\to0$ all residuals vanish and the distance does not: without $\kappa$ there is no bound.

Hypotheses: $\hat X_{t,t}=\mathrm{id}$, $\hat X$ Lipschitz in $x$, $\hat v$ and $v$ Lipschitz in their end time at the
diagonal; for the power of the losses, a uniform law of $u$ between $s$ and $t$.

Source: derived here, by the sum of Hairer, Nørsett, Wanner, Solving ODEs I, §II.3; 2505.18825 (10), (15), (55).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, residuals
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.converses import CLOSED, EVERY, Reference, copies, distance, named, norm
from theory_checks.method_families import Family
from theory_checks.minimizers import Expectation, diagonal, starts, triangle
from theory_checks.quadrature import power, unit
from theory_checks.verdicts import Check

PIECES = 4


class Leaving(FlowMap):
    r"""$x+c\,(t-s)\min(|t-s|,h)$: its velocity leaves the diagonal at the rate $c$, and stops."""

    def __init__(self, c: float, h: float) -> None:
        super().__init__()
        self.c, self.h = c, h

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + (self.c * (t - s) * (t - s).abs().clamp(max=self.h)).reshape(-1, *[1] * (x.ndim - 1))


def stretch(X: FlowMap, s: Tensor, t: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """How far apart two states are at the end, over how far apart they are at the start."""
    apart = norm(y - z)
    return torch.where(apart > 0, norm(X(s, t, y) - X(s, t, z)) / apart.clamp(min=1e-300), 0)


def pieces(r: Reference, wrong: FlowMap, n: int) -> tuple[Tensor, Tensor]:
    """What does not add up, and by how much short pieces are off once they are carried to `t`: `[n, batch]` each."""
    grid = torch.lerp(r.s, r.t, torch.linspace(0, 1, n + 1, dtype=r.x.dtype)[:, None])
    near, far, end = grid[:-1].flatten(), grid[1:].flatten(), copies(r.t, n)
    x = r.X(copies(r.s, n), near, copies(r.x, n)).detach()
    residual = norm(residuals.semigroup(wrong, near, far, end, x))
    reached, truth = wrong(near, far, x).detach(), r.X(near, far, x).detach()
    carried = stretch(wrong, far, end, reached, truth) * norm(reached - truth)
    return residual.detach().reshape(n, -1), carried.detach().reshape(n, -1)


@EVERY
def test_residuals_and_short_pieces_along_the_true_path_bound_the_distance(check: Check, reference: Reference) -> None:
    for delta in reference.deltas:
        wrong = Family(reference.X, reference.size, delta)
        residual, carried = pieces(reference, wrong, PIECES)
        excess = distance(reference, wrong) - (residual + carried).sum(0)
        check.vanishes((excess / delta).clamp(min=0), 1e-5, where=f"at delta = {delta}")


@CLOSED
def test_the_bounds_are_ordered(check: Check, reference: Reference) -> None:
    """Distance, telescoping sum, its terms by constants; and by constants the best number of pieces."""
    r = reference
    for delta in (0.3, 1e-2):
        wrong = Family(r.X, r.size, delta)
        far, T, c = distance(r, wrong), (r.t - r.s).abs(), constants(r, wrong)
        residual, carried = pieces(r, wrong, PIECES)
        summed, any_number = (residual + carried).sum(0), by_constants(c, T, torch.full_like(T, PIECES))
        best = by_constants(c, T, (T * (c.Lip * c.kappa / c.delta).sqrt()).ceil().clamp(min=1))
        closed = c.Lip * T * c.eta + 2 * T * (c.Lip * c.kappa * c.delta).sqrt()
        for small, large in ((far, summed), (summed, any_number), (far, best), (best, closed)):
            check.at_most(float((small / large)[T > 0].max()), 1 + 1e-9, where=f"at delta = {delta}")


class Constants(NamedTuple):
    r"""$\delta$, $\eta$, $\kappa$ and $\Lambda$ of every sample, `[batch]`."""

    delta: Tensor
    eta: Tensor
    kappa: Tensor
    Lip: Tensor


def by_constants(c: Constants, T: Tensor, n: Tensor) -> Tensor:
    """The sum over `n` equal pieces; the last one splits nothing."""
    return (n - 1) * c.delta + c.Lip * T * (c.eta + c.kappa * T / n)


def constants(r: Reference, wrong: FlowMap, n: int = 8) -> Constants:
    """The largest over pairs of times along the true path of each sample, and a little more than a grid sees."""
    shares = torch.linspace(0, 1, n + 1, dtype=r.x.dtype)
    at, beyond = power((shares, shares), 2)[0].T  # of the way, and of what is left of it
    near = torch.lerp(r.s, r.t, at[:, None])
    far = torch.lerp(near, r.t, beyond[:, None]).flatten()
    near, end, k = near.flatten(), copies(r.t, len(at)), len(at)
    x = r.X(copies(r.s, k), near, copies(r.x, k)).detach()
    reached, truth = wrong(near, far, x).detach(), r.X(near, far, x).detach()

    def apart(t: Tensor) -> Tensor:
        return (wrong.average_velocity(near, t, x) - r.X.average_velocity(near, t, x)).detach()

    rise = norm(apart(far) - apart(near)) / (far - near).abs().clamp(min=1e-300)
    values = [
        norm(residuals.semigroup(wrong, near, far, end, x)),
        norm(residuals.tangent(wrong, r.b, near, x)),
        torch.where(far != near, rise, 0),
        stretch(wrong, far, end, reached, truth).clamp(min=1),
    ]
    return Constants(*(1.05 * v.detach().reshape(k, -1).amax(0).clamp(min=1e-300) for v in values))


def still(n: int = 1) -> Reference:
    """Nothing moves: $b=0$, from 0 to 1."""
    X, zero = FlowMap.from_function(lambda _s, _t, x: x), torch.zeros(n, dtype=torch.float64)
    return Reference("still", X.velocity(), X, torch.zeros(n, 1, dtype=torch.float64), zero, 1 + zero)


@pytest.mark.parametrize("h", [0.25, 1 / 16, 1 / 64])
def test_the_square_root_is_reached(check: Check, h: float) -> None:
    r"""The share of the distance in its bound is $1/\sqrt2$ at every size."""
    c, shares = 0.7, torch.linspace(0, 1, 4 * 64 + 1, dtype=torch.float64)
    u, t = power((shares, shares), 2)[0].T
    found = residuals.semigroup(Leaving(c, h), 0.0, u * t, t, torch.zeros(len(u), 1, dtype=torch.float64))
    defect = c * h**2 / 2
    check.at_most(float(found.abs().max()), defect * (1 + 1e-9))
    half = residuals.semigroup(Leaving(c, h), 0.0, h / 2, h, torch.zeros(1, 1, dtype=torch.float64))
    check.vanishes(half.abs() - defect, CLOSED_FORM)  # where both pieces are h/2
    share = distance(still(), Leaving(c, h)) / (2 * (c * defect) ** 0.5)
    check.vanishes(share - 0.5**0.5, CLOSED_FORM)


def test_the_distance_is_of_the_order_of_the_root_and_of_the_fifth_root_squared(check: Check) -> None:
    sizes = torch.tensor([2.0**-k for k in range(5, 10)], dtype=torch.float64)
    far = torch.stack([distance(still(), Leaving(1.0, float(h)))[0] for h in sizes])
    check.order(far, sizes.square() / 2, expected=0.5, slack=1e-6)
    check.order(far.square(), torch.stack([mean_of_the_split(float(h)) for h in sizes]), expected=0.4, slack=0.01)


def mean_of_the_split(h: float, n: int = 24) -> Tensor:
    r"""The mean of $(t-s)|R|^2$ over $s\le t$ and $u$ in between for $c=1$, by Gauss points between its kinks."""
    points, weights = unit(n)
    lengths, shares = [], []
    for start, end in ((0.0, h), (h, 2 * h), (2 * h, 1.0)):
        lengths.append(start + (end - start) * points)
        shares.append((end - start) * weights)
    T, w = torch.cat(lengths), torch.cat(shares)
    first, last = torch.minimum(T - h, T.clamp(max=h)).clamp(min=0), torch.maximum(T - h, T.clamp(max=h))
    total = torch.zeros((), dtype=torch.float64)
    for low, high in ((0 * T, first), (first, last), (last, T)):
        u = torch.lerp(low, high, points[:, None])
        t, zero = T.expand_as(u).flatten(), torch.zeros(u.numel(), 1, dtype=u.dtype)
        R = residuals.semigroup(Leaving(1.0, h), 0.0, u.flatten(), t, zero).reshape(u.shape)
        total += 2 * ((1 - T) * w * (high - low) * (weights @ R.square())).sum()
    return total


def test_without_continuity_at_the_diagonal_there_is_no_bound(check: Check) -> None:
    """All residuals vanish with h, and the distance stays."""
    for h in (1e-2, 1e-4, 1e-6):
        jumping, u = Leaving(1 / h, h), torch.linspace(0, 1, 1001, dtype=torch.float64)
        zero = torch.zeros(len(u), 1, dtype=torch.float64)
        check.at_most(float(residuals.semigroup(jumping, 0.0, u, 1.0, zero).abs().max()) / h, 0.25 + 1e-9)
        check.vanishes(residuals.tangent(jumping, still().b, u, zero), CLOSED_FORM)
        check.vanishes(distance(still(), jumping) - 1, CLOSED_FORM)


@cache
def pairs() -> Expectation:
    return Expectation.over(triangle())


def losses(X: FlowMap) -> tuple[float, float]:
    r"""The mean of $(t-s)|R|^2$, from the row with a uniform $u$, and the excess of $L_b$."""
    matching, (gammas, weights) = Expectation.over(diagonal()).loss("fm"), unit(4)
    splits = []
    for gamma in gammas.tolist():
        split = pairs().loss("psd-u", weight=lambda s, t: t - s, form="map", eta=0.0, stop_gradient=False, gamma=gamma)
        splits.append(split(X).detach())
    return float(torch.stack(splits) @ weights), float((matching(X) - matching(pairs().X)).detach())


def learned_constants(X: FlowMap) -> tuple[float, float]:
    r"""$\Lambda$ and $\kappa$ of a scalar map over all pairs of times and six deviations."""
    s, t, _ = triangle(9)
    x = torch.linspace(-5, 6, 45, dtype=s.dtype)
    s, t, x = s.repeat_interleave(len(x)), t.repeat_interleave(len(x)), x.repeat(len(s))[:, None]
    slope = X.jvp(s, t, x, torch.ones_like(x)).detach().abs().max()
    off, on = (X.average_velocity(s, end, x) - pairs().X.average_velocity(s, end, x) for end in (t, s))
    return float(slope.clamp(min=1)), float(((off - on).detach()[:, 0] / (t - s)).abs().max())


@pytest.mark.parametrize("size", [1.0, 0.1, 0.01])
def test_the_losses_bound_the_mean_square_distance(check: Check, size: float) -> None:
    for theta in starts(3):
        X = pairs().family(size * theta)
        (split, excess), (Lip, kappa) = losses(X), learned_constants(X)
        D = float(pairs().distance(X).detach())
        h = torch.linspace(0.05, 1.0, 40)
        bound = 16 / h**3 * split + 8 * (1 + h) * Lip**2 * excess + 2 / 3 * Lip**2 * kappa**2 * h**2
        check.at_most(D / float(bound.min()), 1.0, where=f"at size {size}")


def test_single_precision_and_a_batch_of_one(check: Check) -> None:
    X, s, t = named("rotation").X, torch.tensor([0.0, 1.0, 0.3]), torch.tensor([1.0, 0.0, 0.3])
    x = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.1]])
    for n in (3, 1):
        r = Reference("rotation", X.velocity(), X, x[:n], s[:n], t[:n])
        residual, carried = pieces(r, Family(X, 2, 0.1), PIECES)
        assert residual.dtype == torch.float32
        check.vanishes((distance(r, Family(X, 2, 0.1)) - (residual + carried).sum(0)).clamp(min=0), SINGLE)


def test_negative_control(check: Check) -> None:
    """Residuals alone bound nothing, and neither does the tangent, by the size of what they miss."""
    r = named("gaussian")
    constant = FlowMap.from_function(lambda _s, _t, x: x)
    assert (distance(r, constant) > pieces(r, constant, PIECES)[0].sum(0) + 0.1)[r.s != r.t].all()
    wrong, half = (bent(r, delta) for delta in (1e-2, 5e-3))
    check.vanishes(residuals.tangent(wrong, r.b, r.s, r.x), 1e-7)
    check.sees(distance(r, wrong), distance(r, half), 1e-7)


def bent(r: Reference, delta: float) -> FlowMap:
    """The flow map with the right tangent, off away from the diagonal."""
    off = Leaving(delta, 0.2)
    return FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + off(s, t, 0 * x))
