r"""flowops: flow maps as ODE solution operators.

A flow map $X_{s,t}$ carries the solution of $\dot x_t=b_t(x_t)$ from time $s$ to time $t$. Base at $t=0$, data at
$t=1$; subscripts come before the state, as on paper: `I(t, x0, x1)`, `b(t, x)`, `X(s, t, x)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowops import problems, residuals
from flowops.fields import VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap, SolutionOperator, reschedule

if TYPE_CHECKING:
    from flowops.runs import Run, TrainConfig
    from flowops.training import train

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
    # training, loaded when it is asked for
    "train",
    "TrainConfig",
    "Run",
]


def __getattr__(name: str) -> Any:
    if name in ("train", "TrainConfig", "Run"):
        from flowops import runs, training

        return getattr(training if name == "train" else runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*sorted(__all__), "__version__"]
