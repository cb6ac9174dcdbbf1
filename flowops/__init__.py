r"""flowops: flow maps as ODE solution operators.

A flow map $X_{s,t}$ carries the solution of $\dot x_t=b_t(x_t)$ from time $s$ to time $t$. Base at $t=0$, data at
$t=1$; subscripts come before the state, as on paper: `I(t, x0, x1)`, `b(t, x)`, `X(s, t, x)`.
"""

from flowops import problems, residuals
from flowops.fields import VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap, SolutionOperator, reschedule

__version__ = "0.1.0"

__all__ = [
    # the three operators
    "Interpolant",
    "VelocityField",
    "FlowMap",
    # concrete maps
    "SolutionOperator",
    "LearnedMap",
    # operations on operators
    "reschedule",
    "guided",
    # identities and exact references
    "residuals",
    "problems",
]
