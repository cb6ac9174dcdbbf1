r"""Log-determinants by random signs are right in the mean, with the error that they state.

$$\log\det(I+A)=\sum_{k\ge1}\frac{(-1)^{k+1}}k\,\mathbb E\,e^\top A^ke\quad(\rho(A)<1),\qquad
\log|\det M|=\tfrac12\,\mathbb E\,e^\top\log(M^\top M)\,e,$$

$A=\nabla X_{s,t}-I$, $M=\nabla X_{s,t}$. What $K$ terms leave out of a probe is at most
$\tfrac{q}{(K+1)(1-q)}|e||A^Ke|$ for $\|A\|_2\le q$; a random number of further terms, each weighted by the inverse of
its probability, leaves out nothing in the mean. The Gauss rule of $k$ steps for the second is exact for $k=d$ and an
overestimate before, since the even derivatives of the logarithm are negative.

Hypotheses: $X$ continuously differentiable, $M$ not singular. Means over all signs are exact sums.

Source: Hutchinson 1989; 1811.00995; 1906.02735; Golub, Meurant 1994.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, interpolants
from flowops._arguments import per_event
from flowops.maps import LogDetLanczos, LogDetSeries, log_det
from flowops.networks import MLP
from theory_checks.cases import CLOSED_FORM, SINGLE, exact_map, random_gaussian
from theory_checks.controls import Perturbed
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

S = torch.tensor([0.1, 0.8, 0.4], dtype=torch.float64)  # forward, backward, equal times
T = torch.tensor([0.7, 0.2, 0.4], dtype=torch.float64)


class Short(FlowMap):
    r"""A nonlinear map with $\|\nabla X-I\|<1$: $x+r(t-s)\tanh(xW+t)$."""

    def __init__(self, size: int, reach: float) -> None:
        super().__init__()
        W = normal(3, size, size)
        self.reach, self.W = reach, W / torch.linalg.matrix_norm(W, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        flat = torch.tanh(x.flatten(1) @ self.W.to(x.dtype) + t[:, None].to(x.dtype))
        return x + self.reach * per_event(t - s, x).to(x.dtype) * flat.reshape(x.shape)


class Turned(FlowMap):
    r"""$x\,(I+(t-s)G)$, far from the identity: no series of it converges."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.G = normal(4, size, size) - 2 * torch.eye(size, dtype=torch.float64)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event(t - s, x).to(x.dtype) * (x.flatten(1) @ self.G.to(x.dtype)).reshape(x.shape)


@pytest.fixture
def all_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pattern of signs once, in place of random ones; `probes` is left out of account."""

    def every(x: Tensor, n: int, _: object) -> Tensor:
        size = x[0].numel()
        assert n == 2**size
        signs = torch.tensor(list(itertools.product((-1, 1), repeat=size)), dtype=x.dtype)
        return signs.reshape(n, 1, *x.shape[1:]).expand(n, *x.shape)

    monkeypatch.setattr(log_det, "rademacher", every)


def matrices(X: FlowMap, x: Tensor) -> Tensor:
    """The Jacobians, `[batch, d, d]`."""
    return X.jacobian(S, T, x).reshape(len(x), x[0].numel(), x[0].numel())


def exact(X: FlowMap, x: Tensor) -> Tensor:
    """The logarithms of their determinants, by the singular values of numpy."""
    return torch.from_numpy(np.log(np.linalg.svd(matrices(X, x).numpy(), compute_uv=False)).sum(1))


events = pytest.mark.parametrize("event", [(4,), (1, 2, 2)])


@pytest.mark.usefixtures("all_signs")
@events
def test_the_mean_of_the_series_is_the_sum_of_its_traces(event: tuple[int, ...], check: Check) -> None:
    X, x = Short(4, 0.8), normal(1, 3, *event)
    A = matrices(X, x) - torch.eye(4).double()
    for terms in (1, 3, 6):
        traces = [torch.linalg.matrix_power(A, k).diagonal(dim1=1, dim2=2).sum(1) for k in range(1, terms + 1)]
        wanted = sum((-1) ** (k + 1) / k * trace for k, trace in enumerate(traces, 1))
        check.vanishes(LogDetSeries(terms=terms, probes=16)(X, S, T, x).value - wanted, CLOSED_FORM)


@pytest.mark.usefixtures("all_signs")
@pytest.mark.parametrize("norm", [0.48, None])
def test_what_the_series_leaves_out_is_at_most_what_it_says(norm: float | None, check: Check) -> None:
    X, x = Short(4, 0.8), normal(2, 3, 4)  # |t - s| is at most 0.6, and the slope of tanh 1
    for terms in (2, 4, 8, 16):
        found = LogDetSeries(terms=terms, probes=16, norm=norm)(X, S, T, x)
        off = (found.value - exact(X, x)).abs()
        check.vanishes((off - found.truncation).clamp(min=0), CLOSED_FORM if norm else 1e-4)
        assert found.truncation.max() < 4 * 0.48 ** (terms + 1) / (terms + 1) / 0.52 * 4
    assert off.max() < 1e-6


def test_what_the_series_says_is_hardly_more_than_what_it_leaves_out(check: Check) -> None:
    r"""For $A=-q$ the rest is $\sum_{k>K}q^k/k$, of which the bound is at most $1/(1-q)$ times as large."""
    X, x = FlowMap.from_function(lambda s, t, x: x * (1 - 0.1 * (t - s).abs())[:, None]), normal(2, 3, 1)
    for terms in (1, 2, 5):
        found = LogDetSeries(terms=terms, probes=1)(X, S, T, x)
        off, q = found.value - exact(X, x), 0.1 * (T - S).abs()
        check.vanishes((off - found.truncation).clamp(min=0), CLOSED_FORM)
        check.vanishes((found.truncation * (1 - q) / off - 1)[:2].clamp(min=0), 1e-3)


@pytest.mark.usefixtures("all_signs")
def test_a_random_number_of_terms_leaves_out_nothing_in_the_mean(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    X, x, total = Short(4, 0.8), normal(3, 3, 4), torch.zeros(3).double()
    roulette = LogDetSeries(terms=2, probes=16, roulette=True)
    for more in range(25):
        monkeypatch.setattr(LogDetSeries, "_more", lambda _, x, m=more: torch.full((len(x),), float(m)))
        found = roulette(X, S, T, x)
        total = total + 2.0 ** -(more + 1) * found.value
        assert not found.truncation.any()
    check.vanishes(total - exact(X, x), 1e-7)


def test_the_number_of_terms_is_drawn_with_its_probability(check: Check) -> None:
    roulette = LogDetSeries(roulette=True, generator=torch.Generator().manual_seed(0))
    more = roulette._more(torch.zeros(100_000, 1))
    for j in range(5):
        check.at_most(abs(float((more >= j).double().mean()) - 2.0**-j), 0.006)


@pytest.mark.usefixtures("all_signs")
@pytest.mark.parametrize("make", [Turned, lambda size: Short(size, 0.8)], ids=["far", "near"])
@events
def test_the_gauss_rule_is_exact_in_the_end_and_too_large_before(
    event: tuple[int, ...], make: type[Turned], check: Check
) -> None:
    X, x = make(4), normal(4, 3, *event)
    wanted, before = exact(X, x), torch.full((3,), torch.inf).double()
    for steps in (1, 2, 3, 4, 7):
        found = LogDetLanczos(steps=steps, probes=16)(X, S, T, x)
        if steps >= 4:
            check.vanishes(found.value - wanted, CLOSED_FORM)
            assert not found.truncation.any()
        else:
            check.vanishes((wanted - found.value).clamp(min=0), CLOSED_FORM)
            check.vanishes((found.value - before).clamp(min=0), CLOSED_FORM)
            before = found.value


def test_where_no_series_converges_it_says_so() -> None:
    X, x = Turned(4), normal(5, 3, 4)
    found = LogDetSeries(terms=30, probes=4, generator=torch.Generator().manual_seed(0))(X, S, T, x)
    assert found.truncation[0].isinf()
    assert (found.value - exact(X, x))[0].abs() > 1
    for none in (found.value, found.truncation, found.standard_error):
        assert not none[2]  # no time passes


def test_invariant_directions_end_the_search_early(check: Check) -> None:
    """Multiples of the identity, and a projection and its complement: two values whatever the number of steps."""
    split = torch.tensor([0.5, 0.5, 3.0, 3.0, 3.0, 3.0]).double()
    for scale in (torch.full((6,), 0.7).double(), split):
        X = FlowMap.from_function(lambda s, t, x, c=scale: x * c ** (t - s)[:, None])
        found = LogDetLanczos(steps=6, probes=3)(X, S, T, normal(6, 3, 6))
        check.vanishes(found.value - (T - S) * scale.log().sum(), CLOSED_FORM)
        check.vanishes(found.standard_error, CLOSED_FORM)


@pytest.mark.parametrize("estimate", [LogDetSeries, LogDetLanczos])
def test_the_standard_error_is_that_of_the_mean(estimate: type[LogDetSeries], check: Check) -> None:
    X = LearnedMap(MLP(12, width=16, depth=1, generator=torch.Generator().manual_seed(1))).double()
    x = normal(7, 400, 12)
    with torch.no_grad():
        found = estimate(probes=16, generator=torch.Generator().manual_seed(2))(X, 0.0, 0.6, x)
        off, error = found.value - X.log_abs_det(0.0, 0.6, x), found.standard_error
    check.at_most(abs(float(off.square().mean() / error.square().mean()) - 1), 0.35)
    check.at_most(abs(float(off.mean() / error.mean())), 0.3)
    assert found.truncation.max() < 1e-2 * error.min()


def test_a_solved_map_and_one_sample(check: Check) -> None:
    X, x = SmoothField((1, 2, 2), 3).flow_map(method="rk4", steps=6), normal(8, 1, 1, 2, 2)
    with torch.no_grad():
        found = LogDetLanczos(probes=400, generator=torch.Generator().manual_seed(3))(X, 0.9, 0.2, x)
        off = found.value - X.log_abs_det(0.9, 0.2, x)
    check.at_most(float((off.abs() - 4 * found.standard_error).clamp(min=0)), 1e-4)


@pytest.mark.parametrize("estimate", [LogDetSeries, LogDetLanczos])
def test_single_precision(estimate: type[LogDetSeries], check: Check) -> None:
    X, x = exact_map(random_gaussian(interpolants.linear(), 5, 1)), normal(9, 3, 5)
    both = [
        estimate(probes=1, generator=torch.Generator().manual_seed(4))(X, S, T, z).value
        for z in (x, x.float().double())
    ]
    check.vanishes(both[0] - both[1], CLOSED_FORM)  # an affine map
    single = estimate(probes=32)(X, S, T, x.float())
    assert single.value.dtype == torch.float32
    assert single.standard_error.isfinite().all()
    check.vanishes(
        LogDetLanczos(steps=1, probes=1)(Short(1, 0.8), S, T, x[:, :1].float()).value - exact(Short(1, 0.8), x[:, :1]),
        SINGLE,
    )


@pytest.mark.usefixtures("all_signs")
@pytest.mark.parametrize("estimate", [LogDetSeries(terms=40, probes=16), LogDetLanczos(probes=16)])
def test_negative_control(estimate: LogDetSeries, check: Check) -> None:
    X, x = Short(4, 0.8), normal(10, 3, 4)
    wrong, half = (estimate(Perturbed(X, delta), S, T, x).value - exact(X, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)
