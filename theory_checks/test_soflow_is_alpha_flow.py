r"""SoFlow is alpha-flow along dI_s/ds: its squared quotient has the weight 1/alpha, its released code none.

In the paper's clock (data at 0, noise at 1, $s<l<t$) the solution function is $f(x_t,t,s)=x_t+(s-t)N(x_t,t,s)$, and
$$q=\frac{f(x_t,t,s)-\mathrm{sg}f(x_t+(l-t)\dot x_t,l,s)}{t-l},\qquad a=\frac{t-l}{t-s}\quad\Rightarrow\quad
q=-\frac1a\big(N_t-a\,\dot x_t-(1-a)N_l\big).$$
With $N=-v$, $\dot x=-\dot I$ and our times one less theirs, $|q|^2$ is $\alpha^{-2}$ times the squared difference of
`alpha-flow`, whose loss has $\alpha^{-1}$: it is that with `weight` $=1/\alpha$, adaptive weights of $q$ included. The
released code does not square: it takes $\mathrm{sgn}(s-t)\,N_t\cdot\mathrm{sg}(q\,w)$, whose gradient is half that of
`alpha-flow` itself, so that short steps are not weighed up. Its `Exponent` schedule of $a$ is `anneal` exponential.

Source: SoFlow 2512.15657; its public code and configuration for CIFAR-10; 2510.20771.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import Exponential, get_method
from theory_checks.gradients import (
    EDGES,
    SAME,
    Batch,
    Edge,
    Fixed,
    Network,
    Translated,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
)
from theory_checks.verdicts import Check

I = interpolants.linear()
STEPS = [1.0, 0.5, 0.02]
ADAPTIVE = {"p": 0.75, "c": 1e-3}  # the paper's


def ours(network: nn.Module) -> LearnedMap:
    r"""The map of a network $N(x,t,s)$ of the paper."""
    return LearnedMap(Translated(network, lambda net, s, t, x: -net(1 - s, 1 - t, x)))


def column(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


class Quotient:
    """The paper's quotient, its network at the start and the weight, from what our row has drawn."""

    def __init__(self, network: nn.Module, samples: Batch, s: Tensor, t: Tensor, a: float, p: float, c: float) -> None:
        noise, data = samples
        now, end = 1 - s, 1 - t  # the paper's t and s
        between = now + a * (end - now)
        x, velocity = column(1 - now, data) * data + column(now, data) * noise, noise - data

        def solution(value: Tensor, start: Tensor, state: Tensor) -> Tensor:
            return state + column(end - start, state) * value

        self.value = network(now, end, x)
        with torch.no_grad():
            moved = x + column(between - now, x) * velocity
            later = solution(network(between, end, moved), between, moved)
        self.sign = -1.0  # of s - t
        self.q = (solution(self.value, now, x) - later) / column(now - between, x)
        self.w = (self.q.detach().square().flatten(1).sum(1) + c) ** -p

    def squared(self) -> Tensor:
        return (self.w * self.q.square().flatten(1).sum(1)).mean()

    def released(self) -> Tensor:
        pull = column(self.w, self.q) * self.q.detach()
        return self.sign * (self.value * pull).flatten(1).sum(1).mean()


def pair(
    a: float, options: Mapping[str, float] | None = None, edge: Edge | None = None, off: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of alpha-flow with the weight and without, of the square and of the code with its step off."""
    options = options or {"p": 0.0, "c": 1e-3}
    edge = edge or Edge()
    network, samples = Network(3, event=edge.event).to(edge.dtype), batch(3, edge.n, edge.event, edge.dtype)
    law, X = edge.law or Fixed(), ours(network)
    method = get_method("alpha-flow", eta=0.0, law=law, alpha=a, **options)
    (k,) = [k for k in method.draw(X, I, *samples, seed=3).terms if k is not None]
    both = [gradient(m, X, I, samples) for m in (method.with_options(weight=1 / a), method)]

    def theirs() -> Quotient:
        return Quotient(network, samples, k.s, k.t, a * (1 + off), options["p"], options["c"])

    return (*both, flat_gradient(theirs().squared(), X), flat_gradient(theirs().released(), X))  # type: ignore[return-value]


@pytest.mark.parametrize("options", [None, ADAPTIVE], ids=["plain", "adaptive"])
@pytest.mark.parametrize("a", STEPS)
def test_same_gradient(check: Check, a: float, options: Mapping[str, float] | None) -> None:
    weighted, plain, squared, released = pair(a, options)
    agree(check, weighted, squared, where="of the square")
    agree(check, plain, 2 * released, where="of the code")


@pytest.mark.parametrize("name", [name for name in EDGES if name != "equal times"])
def test_at_the_edges(check: Check, name: str) -> None:
    edge = EDGES[name]
    weighted, plain, squared, released = pair(0.5, ADAPTIVE, edge)
    tolerance = SAME if edge.dtype == torch.float64 else 1e-4  # differences over the step, in single precision
    agree(check, weighted, squared, tolerance)
    agree(check, plain, 2 * released, tolerance)


def test_backward_pairs_of_times(check: Check) -> None:
    """The square has no sign of $s-t$; the code's is for $s<t$, which is what it draws."""
    edge = Edge(law=Fixed((0.9, 0.8, 0.7, 0.95, 0.6, 0.5), (0.1, 0.3, 0.2, 0.5, 0.1, 0.2)))
    weighted, _, squared, _ = pair(0.5, edge=edge)
    agree(check, weighted, squared)


def test_the_schedule_is_that_of_the_recipe(check: Check) -> None:
    law = Exponential()
    for step in (0, 1_000, 400_000, 799_999, 800_000):
        check.vanishes(torch.tensor(law.at(step) - 1.0 * (0.0003125 / 1.0) ** (step / 800_000)), 1e-12)
    assert law.at(None) == law.at(10**7) == 3.125e-4
    shares = [law.at(step) / law.at(step + 100) for step in (0, 5_000, 700_000)]
    check.vanishes(torch.tensor(shares) - shares[0], 1e-12)


def test_negative_control(check: Check) -> None:
    """A step that is off by delta is seen, and grows like delta; the two readings are not each other."""
    reference = pair(0.5)[2]
    wrong, half = ((pair(0.5, off=delta)[2] - reference) / reference.norm() for delta in (1e-2, 5e-3))
    check.sees(wrong, half, SAME)
    weighted, plain, squared, released = pair(0.5, ADAPTIVE)
    differ(weighted, 2 * released)
    differ(plain, squared)
    differ(pair(0.02)[0], pair(0.5)[0])
