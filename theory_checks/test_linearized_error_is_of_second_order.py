r"""First order: the residual, carried on along the learned path, is the error up to its square.

Two estimates need no truth: $\int_s^t\nabla\hat X_{\tau,t}(\hat X_{s,\tau}(x))\,r_\tau\,d\tau$, with the gradient of
the wrong map, and the solution of $\dot e=\nabla b_\tau(\hat X_{s,\tau}(x))\,e+r_\tau$ from $\hat X_{s,s}(x)-x$. Of a
map that is wrong by $\delta$ both miss the error by $O(\delta^2)$; the second, whose linearization leaves out
$\tfrac12\nabla^2b\,[e,e]$, is exact for a field that is affine in the state.

With $\hat X$ in place of $X$ the Lagrangian and the Eulerian representation are one, since $\tau\mapsto
\hat X_{\tau,t}(\hat X_{s,\tau}(x))$ has equal ends.

Hypotheses: $b$ twice continuously differentiable in $x$; for the first, $\nabla\hat X$ wrong by $O(\delta)$ too.

Source: Hairer, Nørsett, Wanner, Solving ODEs I, §I.14.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, problems
from flowops._arguments import per_event
from flowops.certificates import Integral, eulerian_error, linearized_error, tangent_error
from theory_checks.cases import SINGLE
from theory_checks.controls import Shifted
from theory_checks.converses import Reference, named
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

DELTAS = torch.tensor([0.16, 0.08, 0.04, 0.02])
CURVED, AFFINE = ("logistic", "pendulum"), ("linear", "rotation", "time-dependent", "gaussian")
SOLVE = 2e-3  # relative error of the linear solve


def along_itself(X: FlowMap, r: Reference) -> Tensor:
    return linearized_error(X, r.b, r.s, r.t, r.x, tolerance=1e-9).value


def by_the_tangent(X: FlowMap, r: Reference) -> Tensor:
    return tangent_error(X, r.b, r.s, [r.t], r.x)[0]


def misses(estimate: Callable[[FlowMap, Reference], Tensor], r: Reference, delta: float) -> tuple[Tensor, Tensor]:
    """What an estimate misses, and the error."""
    wrong = Family(r.X, r.size, delta)
    error = (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)).detach()
    return estimate(wrong, r) - error, error


@pytest.mark.parametrize("name", [*CURVED, *AFFINE])
def test_along_itself_it_is_off_by_the_square(check: Check, name: str) -> None:
    errors = torch.stack([misses(along_itself, named(name), float(delta))[0].norm() for delta in DELTAS])
    check.order(errors, DELTAS, expected=2.0)


def test_by_the_tangent_it_is_off_by_the_square(check: Check) -> None:
    errors = torch.stack(
        [misses(by_the_tangent, named("logistic").first, float(delta))[0].norm() for delta in DELTAS[:3]]
    )
    check.order(errors, DELTAS[:3], expected=2.0, slack=0.3)  # the solve has an error of its own


@pytest.mark.parametrize("name", ["linear", "gaussian"])
def test_by_the_tangent_it_is_the_error_where_the_field_is_affine(check: Check, name: str) -> None:
    missed, error = misses(by_the_tangent, named(name), 0.3)
    check.vanishes(missed, SOLVE, scale=float(error.norm()))


@pytest.mark.parametrize("name", ["logistic", "gaussian"])
def test_both_representations_along_the_map_itself_are_one(check: Check, name: str) -> None:
    r = named(name)
    wrong = Family(r.X, r.size, 0.3)
    eulerian = eulerian_error(wrong, r.b, r.s, r.t, r.x, flow=wrong, tolerance=1e-9)
    check.vanishes(eulerian.value - along_itself(wrong, r), 1e-7)


def test_a_small_error_has_an_effectivity_of_one(check: Check) -> None:
    """A map that is wrong by about one per cent, both estimates."""
    for r in (named(name) for name in ("logistic", "gaussian")):
        for estimate in (along_itself, by_the_tangent):
            missed, error = misses(estimate, r, 0.01)
            moved = r.s != r.t
            sizes = (missed + error).flatten(1).norm(dim=1)[moved] / error.flatten(1).norm(dim=1)[moved]
            check.vanishes(sizes - 1, 0.1, where=f"of {r.name}")


def test_maps_without_identity_images_and_a_batch_of_one(check: Check) -> None:
    problem = problems.logistic(1.5, event=(1, 2, 2))
    r = Reference("images", problem.b, problem.X, torch.full((1, 1, 2, 2), 0.3).double(), *torch.eye(2).double()[:, :1])
    wrong = Shifted(r.X, 1e-3)
    error = (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)).detach()
    for found in (along_itself(wrong, r), by_the_tangent(wrong, r)):
        check.vanishes(found - error, 1e-2, scale=float(error.norm()))


def test_every_time_on_the_way_and_a_start_that_is_off(check: Check) -> None:
    r = named("gaussian").first
    wrong = Family(r.X, r.size, 0.1)
    ends = [torch.lerp(r.s, r.t, share) for share in (0.3, 1.0, 0.6)]
    found = tangent_error(wrong, r.b, r.s, ends, r.x)
    errors = torch.stack([wrong(r.s, end, r.x) - r.X(r.s, end, r.x) for end in ends]).detach()
    check.vanishes(found - errors, SOLVE * float(errors.norm()))
    start = torch.full_like(r.x, 0.05)
    alone = tangent_error(wrong, r.b, r.s, [r.t], r.x, start=start, driven=False)[0]
    check.vanishes(alone - r.X.jvp(r.s, r.t, r.x, start), SOLVE * float(start.norm()))
    both = tangent_error(wrong, r.b, r.s, [r.t], r.x, start=start)[0]
    check.vanishes(both - alone - found[1], SOLVE * float(errors.norm()))


def test_single_precision(check: Check) -> None:
    problem = problems.rotation(2.0)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    wrong = Family(problem.X, 2, 0.05)
    error = (wrong(0.0, 1.0, x) - problem.X(0.0, 1.0, x)).detach()
    found = tangent_error(wrong, problem.b, 0.0, [1.0], x)[0]
    assert found.dtype == torch.float32
    check.vanishes(found - error, SOLVE * float(error.norm()) + SINGLE)


@pytest.mark.parametrize("name", CURVED)
def test_negative_control(check: Check, name: str) -> None:
    """Without carrying it on, the residual alone misses at first order."""
    r = named(name)

    def bare(X: FlowMap, r: Reference) -> Tensor:
        found: Integral = linearized_error(Bare(X), r.b, r.s, r.t, r.x)
        return found.value

    errors = torch.stack([misses(bare, r, float(delta))[0].norm() for delta in DELTAS])
    check.order(errors, DELTAS, expected=1.0)


class Bare(FlowMap):
    """A map whose gradient is said to be the identity."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x)

    def jvp(self, s, t, x, u):
        return u + 0 * per_event(self._operands(s, t, x)[0], u)
