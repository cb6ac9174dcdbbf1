r"""In average velocities the Eulerian loss is the same number; that of the semigroup loses the factor (t - s)^2.

With $X_{s,t}=x+(t-s)v_{s,t}$, on any map, at $x=I_s$:
* (28) $|\partial_sX+\nabla X\,b_s|^2$ is (37) $|v_{s,t}-(b_s+(t-s)(\partial_sv_{s,t}+\nabla v_{s,t}\,b_s))|^2$, and so
  are their gradients: the change of letters divides by nothing. So is (26), $|\partial_tX-b_t(X)|^2$,
  $|v_{s,t}-(b_t(X_{s,t})-(t-s)\,\partial_tv_{s,t})|^2$.
* (38) holds the bracket; its semigradient (39) is $-2R\cdot\nabla_\theta v$, and that of continuous consistency
  distillation (35) is $-2R\cdot\nabla_\theta X=(t-s)$ times it, for $R$ the residual.
* (15) $|X_{u,t}\circ X_{s,u}-X_{s,t}|^2$ is $(t-s)^2$ times (22), the preconditioned one.
* On the diagonal (93) $\partial_sX_{s,s}=-v_{s,s}$: both forms of the Eulerian and the Lagrangian loss are
  $|v_{s,s}-b_s|^2$, flow matching along $b$, at the rate $t-s$; with the map's own velocity they and the semigroup's
  vanish there, with their gradients.

Hypotheses: $v$ differentiable. Sides are written down from a random network, derivatives of its values by forward mode.

Source: 2505.18825 (15), (22), (26), (28), (35)-(39), F.2 (93).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField, interpolants, residuals
from flowops.methods import MethodResult, TimePower, get_method
from flowops.times import Diagonal
from theory_checks.by_hand import Formula, Place, eulerian_in_velocities, lagrangian_in_velocities, squares
from theory_checks.gradients import (
    EDGES,
    ENDS,
    SAME,
    STARTS,
    Batch,
    Edge,
    Fixed,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
    semigradient,
)
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
B = SmoothField((2,), seed=6)
S, T = (torch.tensor(times, dtype=torch.float64) for times in (STARTS, ENDS))
IN_VELOCITIES: dict[str, Formula] = {"emd": eulerian_in_velocities, "lmd": lagrangian_in_velocities}
TAUGHT = [(name, form) for name in ("emd", "lmd") for form in ("map", "velocity")]
OWN = [(name, form) for name in ("esd", "lsd", "psd-u") for form in ("map", "velocity")]


def result(name: str, X: FlowMap, samples: Batch, I: Interpolant = I, **options: Any) -> MethodResult:
    return get_method(name, **options)(X, I, *samples, teacher=B if name in ("emd", "lmd") else None, seed=3)


def by_hand(
    name: str, X: LearnedMap, interpolant: Interpolant, samples: Batch, law: Fixed, b: VelocityField = B
) -> Tensor:
    """(37), or its Lagrangian kin, of each sample, from the network alone."""
    (k,) = get_method(name, law=law).draw(X, interpolant, *samples, teacher=b, seed=3).terms
    assert k is not None
    network = FlowMap.from_function(X.network)
    return squares(IN_VELOCITIES[name](Place(network, network, interpolant, b, k)), frozen=False)


@pytest.mark.two_terms
@pytest.mark.parametrize("name", IN_VELOCITIES)
def test_both_forms_are_the_same_number_with_the_same_gradient(
    interpolant: Interpolant, check: Check, name: str
) -> None:
    X, samples = random_map(1), batch(1)
    expected = by_hand(name, X, interpolant, samples, Fixed())
    whole = flat_gradient(expected.mean(), X)
    for form in ("map", "velocity"):
        ours = result(name, X, samples, interpolant, form=form, law=Fixed())
        check.vanishes(ours.per_sample - expected, SAME, scale=1 + expected.max())
        agree(check, flat_gradient(ours.loss, X), whole)


@pytest.mark.parametrize("name", IN_VELOCITIES)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_at_the_edges(check: Check, edge: Edge, name: str) -> None:
    X, b = random_map(2, edge.event).to(edge.dtype), SmoothField(edge.event, seed=6).to(edge.dtype)
    samples = batch(2, edge.n, edge.event, edge.dtype)
    for law in edge.laws:
        expected = by_hand(name, X, I, samples, law, b)
        for form in ("map", "velocity"):
            ours = get_method(name, form=form, law=law)(X, I, *samples, teacher=b, seed=3).per_sample
            assert ours.dtype == edge.dtype
            check.vanishes(ours - expected, edge.tolerance, scale=1 + expected.max())


def test_the_semigradient_of_consistency_distillation_has_a_factor_more(check: Check) -> None:
    X, samples = random_map(3), batch(3)
    x = I(S, *samples)
    R = residuals.eulerian(X, B, S, T, x).detach()
    velocities = get_method("emd", form="velocity", stop_gradient=True, law=Fixed())
    ours = gradient(velocities, X, I, samples, teacher=B)
    direct = 2 * (-R * X.average_velocity(S, T, x)).sum(1).mean()
    agree(check, ours, flat_gradient(direct, X))
    weighted = gradient(velocities.with_options(weight=TimePower(1.0)), X, I, samples, teacher=B)
    agree(check, weighted, semigradient(X, -R, S, T, x))
    differ(ours, weighted)


@pytest.mark.parametrize("gamma", [0.2, 0.5])
def test_the_semigroup_loss_has_the_square_of_the_length(check: Check, gamma: float) -> None:
    X, samples = random_map(4), batch(4)
    maps, velocities = (
        result("psd-u", X, samples, form=form, eta=0.0, gamma=gamma, law=Fixed()) for form in ("map", "velocity")
    )
    check.vanishes(maps.per_sample - (T - S) ** 2 * velocities.per_sample, SAME)
    weighted = result("psd-u", X, samples, eta=0.0, gamma=gamma, law=Fixed(), weight=TimePower(2.0))
    agree(check, flat_gradient(maps.loss, X), flat_gradient(weighted.loss, X))


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(("name", "form"), TAUGHT)
def test_on_the_diagonal_they_are_flow_matching(check: Check, name: str, form: str, frozen: bool) -> None:
    X, samples = random_map(5), batch(5)
    ours = result(name, X, samples, form=form, stop_gradient=frozen, law=Diagonal())
    x = I(ours.s, *samples)
    matching = (X.network(ours.s, ours.s, x) - B(ours.s, x).detach()).square().sum(1)
    check.vanishes(ours.per_sample - matching, SAME)
    agree(check, flat_gradient(ours.loss, X), flat_gradient(matching.mean(), X))
    check.vanishes(X.ds(0.4, 0.4, x) + X.network(torch.full_like(ours.s, 0.4), torch.full_like(ours.s, 0.4), x), SAME)


@pytest.mark.parametrize(("name", "form"), OWN)
def test_with_the_own_velocity_nothing_is_left_on_the_diagonal(check: Check, name: str, form: str) -> None:
    X, samples = random_map(6), batch(6)
    ours = result(name, X, samples, form=form, eta=0.0, law=Diagonal())
    check.vanishes(ours.per_sample, SAME)
    check.vanishes(flat_gradient(ours.loss, X), SAME)


@pytest.mark.parametrize(("name", "form"), TAUGHT)
def test_they_tend_to_flow_matching_at_the_rate_of_the_length(check: Check, name: str, form: str) -> None:
    X, samples, lengths = random_map(7), batch(7), torch.tensor([0.04, 0.02, 0.01, 0.005], dtype=torch.float64)

    def at(h: float) -> Tensor:
        law = Fixed(STARTS, tuple(s + h for s in STARTS))
        return result(name, X, samples, form=form, law=law).per_sample.detach()

    errors = torch.stack([(at(float(h)) - at(0.0)).abs().mean() for h in lengths])
    check.order(errors, lengths, 1.0)


def test_negative_control(check: Check) -> None:
    r"""A field that is off by $\delta$ in one of the forms is seen; so are the gradients of the frozen forms."""
    X, samples = random_map(8), batch(8)
    expected = by_hand("emd", X, I, samples, Fixed())
    wrong, half = (
        get_method("emd", form="map", law=Fixed())(X, I, *samples, teacher=(1 + delta) * B, seed=3).per_sample
        - expected
        for delta in (1e-3, 5e-4)
    )
    check.sees(wrong, half, SAME)
    maps, velocities = (
        gradient(get_method("emd", form=form, stop_gradient=True, law=Fixed()), X, I, samples, teacher=B)
        for form in ("map", "velocity")
    )
    differ(maps, velocities)
