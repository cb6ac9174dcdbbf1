r"""Converse of the semigroup: with the tangent condition and a continuous v, a semigroup is the flow map.

Along times $s=t_0,\dots,t_K=t$ with $y_k=\hat X_{s,t_k}(x)$ the distance telescopes into what the pieces do not add up
to and what each piece is off,
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le\sum_kL_k\Big(|\hat X_{t_k,t_{k+1}}(y_k)-y_{k+1}|
  +|t_{k+1}-t_k|\,|\hat v_{t_k,t_{k+1}}-v_{t_k,t_{k+1}}|(y_k)\Big),$$
$L_k$ the Lipschitz constant of $X_{t_{k+1},t}$ between the two points it is applied to. The first part is the residual
of the semigroup, the second tends to $\int_s^tL|\hat v_{\tau,\tau}-b_\tau|\,d\tau$ as they get short, the defect of
the tangent condition, if $\hat v$ is continuous on the diagonal.

Both are needed: the map $X_{s,t}(x)=x$ is a semigroup whose tangent is wrong; with $v_{t,t}=b_t$ and $v_{s,t}=0$ for
$s\ne t$ it is a semigroup whose tangent is right, and whose $v$ is discontinuous.

Hypotheses: $b$ continuous in $t$ and locally Lipschitz in $x$; $(s,t,x)\mapsto v_{s,t}(x)$ continuous.

Source: 2505.18825 Prop. 2.2 (10), (47), (55), (56).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, residuals
from flowops._arguments import per_event
from theory_checks.cases import CLOSED_FORM
from theory_checks.converses import CLOSED, EVERY, Reference, copies, distance, named, norm
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

PIECES = 4


class Discontinuous(FlowMap):
    r"""$x+(t-s)\,v_{s,t}(x)$ with $v_{t,t}=b_t$ and $v_{s,t}=0$ off the diagonal."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event(t - s, x) * self.average_velocity(s, t, x)

    def average_velocity(self, s, t, x):
        s, t = self._operands(s, t, x)
        return torch.where(per_event(s == t, x), self.b(t, x), torch.zeros_like(x))

    def velocity(self) -> VelocityField:
        return VelocityField.from_function(lambda t, x: self.average_velocity(t, t, x))


def largest_stretch(X: FlowMap, s: Tensor, t: Tensor, y: Tensor, z: Tensor) -> Tensor:
    r"""The largest singular value of $\nabla X_{s,t}$ over the segment from $y$ to $z$."""
    size = y[0].numel()
    segment = torch.cat([torch.lerp(y, z, share) for share in (0.0, 0.5, 1.0)])
    J = X.jacobian(copies(s, 3), copies(t, 3), segment).detach().reshape(-1, size, size)
    return torch.linalg.matrix_norm(J, ord=2).reshape(3, -1).amax(0)


def parts(r: Reference, wrong: FlowMap, pieces: int = PIECES) -> tuple[Tensor, Tensor]:
    """The two parts of the bound, what does not add up and what each piece is off: one number a sample."""
    grid = torch.lerp(r.s, r.t, torch.linspace(0, 1, pieces + 1, dtype=r.x.dtype)[:, None])
    near, far, end = grid[:-1].flatten(), grid[1:].flatten(), copies(r.t, pieces)
    start, x = copies(r.s, pieces), copies(r.x, pieces)
    y = wrong(start, near, x).detach()
    residual = norm(residuals.semigroup(wrong, start, near, far, x))
    off = (far - near).abs() * norm(wrong.average_velocity(near, far, y) - r.X.average_velocity(near, far, y))
    L = largest_stretch(r.X, far, end, wrong(start, far, x).detach(), r.X(near, far, y).detach())
    return (L * residual).reshape(pieces, -1).sum(0), (L * off).reshape(pieces, -1).sum(0)


@EVERY
def test_residual_and_short_pieces_bound_the_distance(check: Check, reference: Reference) -> None:
    for delta in reference.deltas:
        wrong = Family(reference.X, reference.size, delta)
        excess = distance(reference, wrong) - sum(parts(reference, wrong))
        check.vanishes((excess / delta).clamp(min=0), 1e-5, where=f"at delta = {delta}")


@CLOSED
def test_the_pieces_tend_to_the_defect_of_the_tangent(check: Check, reference: Reference) -> None:
    r, n = reference, 256
    wrong = Family(r.X, r.size, 0.1)
    fine = torch.lerp(r.s, r.t, (torch.arange(n, dtype=r.x.dtype)[:, None] + 0.5) / n)
    times, end = fine.flatten(), copies(r.t, n)
    y = wrong(copies(r.s, n), times, copies(r.x, n)).detach()
    rate = largest_stretch(r.X, times, end, y, y) * norm(residuals.tangent(wrong, r.b, times, y))
    limit = (r.t - r.s).abs() * rate.reshape(n, -1).mean(0)
    counts = torch.tensor([16, 32, 64])
    errors = torch.stack([(parts(r, wrong, int(k))[1] - limit).norm() for k in counts])
    check.order(errors, 1 / counts, expected=1.0)


@CLOSED
def test_the_flow_of_another_field_is_a_semigroup_off_by_its_tangent(check: Check, reference: Reference) -> None:
    r = reference
    other = (r.b + VelocityField.from_function(lambda _, x: 0.05 * torch.cos(x))).flow_map(rtol=1e-9, atol=1e-9)
    residual, off = parts(r, other)
    check.vanishes(residual, 1e-7)
    assert (distance(r, other) > 1e-3)[r.s != r.t].all()
    check.vanishes((distance(r, other) - off).clamp(min=0), 1e-5)


@CLOSED
def test_the_identity_is_a_semigroup_whose_tangent_is_wrong(check: Check, reference: Reference) -> None:
    r = reference
    constant = FlowMap.from_function(lambda _s, _t, x: x)
    residual, off = parts(r, constant)
    check.vanishes(residual, CLOSED_FORM)
    assert (distance(r, constant) <= off * (1 + 1e-6) + 1e-6).all()
    assert norm(residuals.tangent(constant, r.b, r.s, r.x)).min() > 1e-3


@CLOSED
def test_a_discontinuous_velocity_has_the_right_tangent(check: Check, reference: Reference) -> None:
    r = reference
    jump = Discontinuous(r.b)
    residual, _ = parts(r, jump)
    check.vanishes(residual, CLOSED_FORM)
    check.vanishes(residuals.tangent(jump, r.b, r.t, r.x), CLOSED_FORM)
    assert (distance(r, jump) > 1e-3)[r.s != r.t].all(), "neither residual sees it, and it is not the flow map"
    diagonal = jump.average_velocity(r.s, r.s, r.x)
    leaps = torch.stack([norm(jump.average_velocity(r.s, r.s + h, r.x) - diagonal) for h in (1e-1, 1e-4, 1e-7)])
    check.vanishes(leaps - norm(r.b(r.s, r.x)), CLOSED_FORM)  # it does not shrink with h
    _, coarse = parts(r, jump, 4)
    _, fine = parts(r, jump, 64)
    assert (fine > 0.5 * coarse)[r.s != r.t].all(), "short pieces see what the tangent does not"


def test_negative_control() -> None:
    """Either part alone is no bound."""
    r = named("gaussian")
    wrong, constant = Family(r.X, r.size, 0.1), FlowMap.from_function(lambda _s, _t, x: x)
    assert (distance(r, wrong) > parts(r, wrong, 64)[1])[r.s != r.t].any()
    assert (distance(r, constant) > parts(r, constant)[0])[r.s != r.t].all()
