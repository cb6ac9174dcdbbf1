"""The adaptive methods by name, and their steps."""

from __future__ import annotations

from torch import Tensor

from flowops._solvers.linearized import Linearized
from flowops._solvers.rosenbrock import ROSENBROCK, Rosenbrock
from flowops._solvers.stepping import Explicit, Stepper
from flowops._solvers.tableaus import EMBEDDED, Embedded

Method = Embedded | Rosenbrock

OWN: dict[str, Method] = {**EMBEDDED, **ROSENBROCK}


def stepper_of(method: Method, like: Tensor) -> Stepper:
    """The steps of a method for states of a dtype and on a device."""
    return Explicit(method, like) if isinstance(method, Embedded) else Linearized(method, like)
