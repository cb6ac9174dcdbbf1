r"""The derivative of a flow map in its parameters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from flowops._arguments import check_state, expand_times
from flowops._derivatives import held_tensors, value_and_jvp_of
from flowops._types import State, TimeLike
from flowops.maps.flow_map import FlowMap


def sensitivity(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, direction: Mapping[str, Tensor]) -> State:
    r"""$\partial_\theta X_{s,t}(x)\,\dot\theta$ in forward mode: how end points move when parameters do.

    For the flow of $b_\theta$ it solves $\dot w=\nabla b_\tau w+\partial_\theta b_\tau\dot\theta$ from $w=0$; one
    direction of any number of parameters costs what one state does, where reverse mode costs one pass per output.

    Args:
        X: the map, solved or not.
        s: the time of `x`.
        t: the time wanted.
        x: state.
        direction: $\dot\theta$, by the names of `X.named_parameters()` and `X.named_buffers()`; the others rest.

    Raises:
        ValueError: for a name that `X` does not have, something else than a floating tensor of the shape of what it
            names, or no name at all.

    Cost: one forward-mode pass. Source: Hairer, Nørsett, Wanner, Solving ODEs I, §I.14. Checked by
    `theory_checks/test_parameter_sensitivity.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    held = held_tensors(X)
    for name, value in direction.items():
        if name not in held:
            raise ValueError(
                f"`direction` must name parameters or buffers of {type(X).__name__}, got {name!r}; it has "
                f"{', '.join(held) or 'none'}."
            )
        if not isinstance(value, Tensor) or value.shape != held[name].shape or not value.is_floating_point():
            given = f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"`direction[{name!r}]` must be a floating tensor of shape {list(held[name].shape)}, got {given}; "
                f"give one rate for every entry."
            )
    if not direction:
        raise ValueError("`direction` must hold at least one parameter, got none; pass {name: tensor}.")
    return value_and_jvp_of(X, direction, s, t, x)[1]
