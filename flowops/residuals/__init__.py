r"""Every identity of a flow map as one function of operators.

Each residual vanishes on the flow map of $b$. Lagrangian or Eulerian together with `identity`, or `semigroup` together
with `tangent` and continuity, vanish only there (2505.18825 Prop. 2.2); alone, `identity`, `tangent`, `inverse`,
`semigroup` and `liouville` also vanish on other maps: $X_{s,t}(x)=x$ is a semigroup. Each is `left - right`;
`parts=True` returns the two sides instead, so that a loss can freeze one. The four `*_velocity` ones are the same
identities written for the average velocity $v_{s,t}(x)=(X_{s,t}(x)-x)/(t-s)$. `symplecticity`, `energy` and
`jacobian_symmetry` are those of Hamiltonian flows and gradient fields, `tilting` that of rewards at time 1. The four
`*_log_det` are those of the rate at which a `JointMap` claims to change volumes, `log_density` that of its density.
"""

from flowops.residuals.average_velocity import (
    eulerian_velocity,
    lagrangian_velocity,
    semigroup_velocity,
    trapezoid_velocity,
)
from flowops.residuals.geometry import energy, jacobian_symmetry, symplecticity
from flowops.residuals.identities import (
    Sides,
    eulerian,
    identity,
    inverse,
    lagrangian,
    liouville,
    semigroup,
    tangent,
)
from flowops.residuals.log_determinant import (
    eulerian_log_det,
    lagrangian_log_det,
    log_density,
    semigroup_log_det,
    tangent_log_det,
)
from flowops.residuals.tilting import tilting

__all__ = [
    "Sides",
    "energy",
    "eulerian",
    "eulerian_log_det",
    "eulerian_velocity",
    "identity",
    "inverse",
    "jacobian_symmetry",
    "lagrangian",
    "lagrangian_log_det",
    "lagrangian_velocity",
    "liouville",
    "log_density",
    "semigroup",
    "semigroup_log_det",
    "semigroup_velocity",
    "symplecticity",
    "tangent",
    "tangent_log_det",
    "tilting",
    "trapezoid_velocity",
]
