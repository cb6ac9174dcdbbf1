r"""With the settings of its paper moment matching has the gradient of the loss that the paper prints.

$\mathbb E\,w(s,t)\,\mathrm{MMD}^2$ in the letters of the paper, whose clock has the data at 0: groups of $M$ samples
share $s<t$; $r=\max(s,\eta^{-1}(\eta_t-\epsilon))$ with $\eta=\sigma/\alpha$; both sides go to $s$, from $x_t$ by the
map that is trained and from $x_r$ by the same map held constant; the kernel is
$\exp(-\tilde w\,|x-y|/D)$ with $\tilde w=1/|c_{out}(s,t)|$, and
$w=\tfrac12\mathrm{sigmoid}(b-\lambda_t)(-\dot\lambda_t)\,\alpha_t/(\alpha_t^2+\sigma_t^2)$,
$\lambda=\log(\alpha^2/\sigma^2)$, $b=5$.

Hypotheses: distances above the floor of the kernel's; data of unit deviation. A kernel that is off by $\delta$, or a
weight, is seen.

Source: 2503.07565, its settings as an independent implementation has them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowops import LearnedMap, interpolants
from flowops.methods import Draw, get_method
from theory_checks.gradients import agree, batch, differ, flat_gradient, random_map
from theory_checks.verdicts import Check

I, M, B = interpolants.linear(), 3, 5.0
CLOSE = 1e-5  # the floor of distances is 1e-6


def drawn(X: LearnedMap, n: int = 6) -> tuple[Draw, Tensor]:
    """What the row draws under the settings of the paper in groups of three, and its gradient."""
    method = get_method("imm", paper=True, particles=M)
    draw = method.draw(X, I, *batch(1, n), seed=3)
    return draw, flat_gradient(method.evaluate(X, I, draw).loss, X)


def printed(X: LearnedMap, draw: Draw, off: float = 0.0, b: float = B) -> Tensor:
    """The gradient of the loss in the letters of the paper; the kernel may be narrower by a factor."""
    (k,) = draw.terms
    assert k is not None
    assert k.u is not None
    t, r, s = (1 - k.s, 1 - k.u, 1 - k.t)
    x_t, x_r = ((1 - tau)[:, None] * k.x1 + tau[:, None] * k.x0 for tau in (t, r))
    y_t, y_r = X(1 - t, 1 - s, x_t), X(1 - r, 1 - s, x_r).detach()
    groups, size = len(t) // M, x_t.shape[1]
    total = torch.zeros(())
    for g in range(groups):
        rows = torch.arange(g, len(t), groups)
        tau, end = t[g], s[g]
        c_out = ((1 - end) * tau - (1 - tau) * end).abs() / ((1 - tau) ** 2 + tau**2).sqrt()

        def kernel(x: Tensor, y: Tensor, width: Tensor = c_out) -> Tensor:
            distance = ((x[:, None] - y).square().sum(-1) + 1e-24).sqrt()
            return torch.exp(-(1 + off) * distance / (width * size)).mean()

        mmd = kernel(y_t[rows], y_t[rows]) + kernel(y_r[rows], y_r[rows]) - 2 * kernel(y_t[rows], y_r[rows])
        log_snr = 2 * torch.log((1 - tau) / tau)
        rate = 2 / (tau * (1 - tau))
        w = 0.5 * torch.sigmoid(b - log_snr) * rate * (1 - tau) / ((1 - tau) ** 2 + tau**2)
        total = total + w * mmd / groups
    return flat_gradient(total, X)


def test_the_gradient_is_that_of_the_printed_loss(check: Check) -> None:
    X = random_map(1)
    draw, ours = drawn(X)
    agree(check, ours, printed(X, draw), CLOSE)


def test_the_step_in_noise_level_is_the_printed_one(check: Check) -> None:
    draw, _ = drawn(random_map(1), 300)
    (k,) = draw.terms
    assert k is not None
    assert k.u is not None
    t, r, s = (1 - k.s, 1 - k.u, 1 - k.t)
    eta = t / (1 - t) - 160 / 2**15
    check.vanishes(r - torch.maximum(s, eta / (1 + eta)), 1e-9)
    assert math.isclose(float(t.min()), 0.006, abs_tol=0.05)


def test_states_of_any_shape(check: Check) -> None:
    """The kernel is of the distance over the number of coordinates."""
    X = random_map(2, (3,))
    method = get_method("imm", paper=True, particles=M)
    draw = method.draw(X, I, *batch(2, 6, (3,)), seed=4)
    agree(check, flat_gradient(method.evaluate(X, I, draw).loss, X), printed(X, draw), CLOSE)


def test_negative_control(check: Check) -> None:
    X = random_map(3)
    draw, ours = drawn(X)
    wrong, half = ((printed(X, draw, delta) - ours) / ours.norm() for delta in (2e-2, 1e-2))
    check.sees(wrong, half, 1e-4)
    differ(ours, printed(X, draw, b=0.0))
    differ(ours, flat_gradient(get_method("imm", particles=M).evaluate(X, I, draw).loss, X))
