r"""Models, paths and solvers of flow_matching, whose clock is ours: the base at 0, the data at 1.

Its letters are others: there $X_t=\alpha_tX_1+\sigma_tX_0$, so that its $\alpha$ is our $\beta$ and its $\sigma$ our
$\alpha$.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowops._named import require
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant, linear, trigonometric, variance_preserving
from flowops.maps import FlowMap, LearnedMap
from flowops.networks import OneTime

EXTRA = "flow-matching"


def network(model: nn.Module, *, label: str | None = None) -> OneTime:
    """A model called as `model(x, t, **extras)`, such as a `ModelWrapper`, as the network of a `LearnedMap`.

    Args:
        model: shares its weights with the result.
        label: the one of its extras that takes classes, such as "label"; None for none.

    Raises:
        TypeError: if it is no module.
    """
    return OneTime(model, "xt", label=label)


def velocity_field(model: nn.Module, *, label: str | None = None) -> VelocityField:
    """The velocity field of a model of `(x, t)`: a copy, in evaluation mode; its condition is the `label`, if any.

    A model that predicts the data or the noise in place of the velocity is converted by `Interpolant.convert`.

    Raises:
        TypeError: if it is no module.
    """
    return LearnedMap(network(copy.deepcopy(model), label=label)).velocity().eval()


def interpolant(path: Any) -> Interpolant:
    r"""The interpolant of an `AffineProbPath`, or of its scheduler.

    `CondOTScheduler`, `CosineScheduler`, `VPScheduler`, `LinearVPScheduler` and `PolynomialConvexScheduler` become
    formulas, with symbolic derivatives and the limits at the ends that theirs lack; a scheduler of one's own is called,
    and differentiated in forward mode. Either is compared with the scheduler and with the derivatives that it gives, at
    nine times.

    Raises:
        ImportError: without flow_matching.
        TypeError: for another object.
        ValueError: for a scheduler whose coefficients or derivatives are others than those of its class, or whose
            derivatives are not those of its coefficients.
    """
    theirs = require("flow_matching.path.scheduler", EXTRA)
    scheduler = getattr(path, "scheduler", path)
    if not isinstance(scheduler, theirs.Scheduler):
        raise TypeError(
            f"`path` must be an AffineProbPath or a Scheduler of flow_matching, got {type(path).__name__}; build an "
            f"Interpolant of its coefficients."
        )
    known: dict[type, Callable[[], Interpolant]] = {
        theirs.CondOTScheduler: linear,
        theirs.CosineScheduler: trigonometric,
        theirs.VPScheduler: lambda: variance_preserving(float(scheduler.beta_min), float(scheduler.beta_max)),
        theirs.LinearVPScheduler: lambda: Interpolant.from_expressions("sqrt(1-t**2)", "t", name="LinearVPScheduler"),
        theirs.PolynomialConvexScheduler: lambda: _polynomial(scheduler.n),
    }
    own = known.get(type(scheduler))
    made = _called(scheduler) if own is None else own()
    _compare(made, scheduler)
    return made


def as_model(operator: VelocityField | FlowMap) -> nn.Module:
    r"""A velocity field, or the field $v_{t,t}$ of a flow map, as a `ModelWrapper` for the solvers of flow_matching.

    Called as `model(x, t, **extras)`; extras that are not None are conditions of the operator (`label=...`).

    Raises:
        ImportError: without flow_matching.
        TypeError: for another object.
    """
    if not isinstance(operator, VelocityField | FlowMap):
        raise TypeError(f"`operator` must be a VelocityField or a FlowMap, got {type(operator).__name__}; wrap it.")
    b = operator.velocity() if isinstance(operator, FlowMap) else operator
    wrapper: Any = require("flow_matching.utils", EXTRA).ModelWrapper

    class FieldModel(wrapper):
        """A velocity field, called with the state before the time."""

        def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
            given = {name: value for name, value in extras.items() if value is not None}
            field: VelocityField = self.model.given(**given) if given else self.model
            return field(t.to(x), x)

    made: nn.Module = FieldModel(b)
    return made


def _polynomial(n: float) -> Interpolant:
    return Interpolant.from_expressions(f"1-t**{n!r}", f"t**{n!r}", name="PolynomialConvexScheduler")


def _called(scheduler: Any) -> Interpolant:
    def part(name: str) -> Callable[[Tensor], Tensor]:
        def value(t: Tensor) -> Tensor:
            found: Tensor = getattr(scheduler(t), name)
            return found

        return value

    return Interpolant(part("sigma_t"), part("alpha_t"), name=type(scheduler).__name__)


def _compare(I: Interpolant, scheduler: Any) -> None:
    """Refuse a scheduler that gives other numbers than the interpolant."""
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    given = scheduler(t)
    pairs = {
        "sigma_t": I.alpha(t),
        "alpha_t": I.beta(t),
        "d_sigma_t": I.alpha_dot(t),
        "d_alpha_t": I.beta_dot(t),
    }
    for name, own in pairs.items():
        if not torch.allclose(getattr(given, name), own, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"`path` must have the {name} that its scheduler says or that follows from it, got "
                f"{type(scheduler).__name__} with another one; mend the scheduler."
            )
