r"""The kinetic energy that a trajectory spends."""

from __future__ import annotations

from torch import Tensor

from flowops._arguments import check_state, expand_times, whole
from flowops._types import PerSample, TimeLike
from flowops.fields import VelocityField
from flowops.fields.divergence import inner
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps.flow_map import FlowMap
from flowops.maps.quadrature import along


def action(X: FlowMap, b: VelocityField, s: TimeLike, t: TimeLike, x: Tensor, *, nodes: int = 32) -> PerSample:
    r"""$(t-s)\int_s^t|b_\tau(X_{s,\tau}(x))|^2\,d\tau$, `[batch]`: the action of the trajectories.

    It is at least $|X_{s,t}(x)-x|^2$, with equality for straight lines of constant speed. Its mean over $x\sim\rho_s$
    is at least the transport cost $W_2^2(\rho_s,\rho_t)$, and $W_2^2$ is its least mean among all fields that carry
    $\rho_s$ to $\rho_t$ (Benamou-Brenier).

    Args:
        X: the flow map of `b`.
        b: the field.
        s: start time.
        t: end time, before or after `s`.
        x: state at time `s`.
        nodes: Gauss-Legendre points in $\tau$; the quadrature error falls geometrically for smooth fields.

    Raises:
        TypeError: unless `b` is a field.
        ValueError: for a number of nodes that is none.

    Cost: one call of `X` and one of `b` on a batch `nodes` times as large. Source: Benamou, Brenier 2000, Numer. Math.
    84:375. Checked by `theory_checks/test_transport_cost.py`.
    """
    check_velocity_field(b)
    check_state(x)
    s, t = expand_times(s, t, x)
    path = along(X, s, t, x, whole(nodes, "nodes", 1))
    speed = b.subset(path.rows)(path.times, path.states)
    return ((t - s).square() * path.mean(inner(speed, speed))).to(x.dtype)
