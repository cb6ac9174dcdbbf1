r"""Networks of one time and a state, as most flow-matching code writes them, as networks of two times."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from flowops._arguments import per_event
from flowops._operator import takes
from flowops._types import State, Times

ORDERS: Final = ("tx", "xt", "cat")
CONDITIONS: Final = ("label", "guidance", "interval", "augment")


class OneTime(nn.Module):
    r"""A network $f$ of one time and a state as the network of a `LearnedMap`: $v_{s,t}(x)=f(s,x)$ for every $t$.

    The diagonal is the field, `LearnedMap(OneTime(f, "tx")).velocity()`; off it there is nothing to learn, and one step
    of the map is the Euler step $x+(t-s)f(s,x)$. So it is the network of the rows that look at the diagonal alone
    (`fm`, `reflow`, `contrastive-fm`), which the others refuse. `f` is shared, and its weights keep their names in
    files, without a prefix.

    Args:
        module: the network, of times `[batch]` and states `[batch, *event]`.
        order: its arguments: "tx" for `module(t, x)`, "xt" for `module(x, t)`, "cat" for one matrix
            `module(torch.cat([x, t[:, None]], 1))`.
        label: name of the keyword argument by which it takes classes; None for none, whatever its signature says.

    >>> from flowops import LearnedMap
    >>> X = LearnedMap(OneTime(nn.Linear(3, 2), "cat"))
    >>> X.velocity()(0.5, torch.ones(4, 2)).shape
    torch.Size([4, 2])

    Raises:
        TypeError: if `module` is no module.
        ValueError: for another order; at a call by "cat", for states that are no vectors.

    Cost of a call: one of the module.
    """

    def __init__(self, module: nn.Module, order: str, *, label: str | None = None) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"`module` must be an nn.Module of one time and a state, got {type(module).__name__}.")
        if order not in ORDERS:
            raise ValueError(
                f'`order` must be "tx" for module(t, x), "xt" for module(x, t) or "cat" for one matrix of both, got '
                f"{order!r}; pass one of them."
            )
        self.module, self.order, self.label = module, order, label
        self.accepted_conditions = () if label is None else ("label",)

    def forward(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        label = conditions.pop("label", None) if self.label is not None else None
        if conditions:
            raise TypeError(
                f"`{next(iter(conditions))}` must not be given to a network of one time, which takes "
                f"{'a label' if self.label else 'no condition: build OneTime(..., label=NAME) for classes'}."
            )
        given = {} if label is None else {str(self.label): _per_sample(label, x)}
        if self.order == "cat":
            value: State = self.module(self._joined(s, x), **given)
        else:
            value = self.module(*((s, x) if self.order == "tx" else (x, s)), **given)
        return value

    def _joined(self, s: Tensor, x: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ValueError(
                f'`x` must hold vectors, [batch, n], for order="cat", got {list(x.shape)}; write a module of (t, x).'
            )
        return torch.cat([x, s[:, None].to(x.dtype)], 1)

    def extra_repr(self) -> str:
        """The order of the arguments."""
        return f"order={self.order!r}"


def _per_sample(label: Tensor | int, x: Tensor) -> Tensor:
    """One label for each sample; most code knows no label for all."""
    value = torch.as_tensor(label, device=x.device)
    return value.expand(len(x)) if value.ndim == 0 else value


class TwoTime(nn.Module):
    r"""$v_{s,t}(x)=b_s(x)+(t-s)\,w_{s,t}(x)$ of a network $b$ of one time and a correction $w$ of two.

    The diagonal is $b$ for every $w$, so that a map starts from a pretrained field whatever the correction is; if $w$
    is zero at first, as a `UNet` is, it starts as the Euler step of the field. Both are trained, so this is for rows
    with a term on the diagonal, such as `lsd`. Rows of distillation (`lmd`) have none, and the diagonal drifts from the
    teacher while the map is learned: the parameterization `SecondOrder(b)` is the same with a field that stays as it
    is, and twice the correction.

    Derivatives in $t$ go through $w$ alone, so that rows with $\partial_tX$ and no other derivative (`lsd`)
    train a $b$ that has no forward derivative, such as one with fused attention. The audit asks for every derivative
    and refuses it: leave it out (`audit=False`).

    Args:
        one_time: a `OneTime`, or any network of `(s, t, x)` of which only the diagonal counts.
        correction: a network of `(s, t, x)`.

    Raises:
        TypeError: if one of them is no module.

    Cost of a call: one of each. Source: the second-order parameterization of 2406.07507.
    """

    def __init__(self, one_time: nn.Module, correction: nn.Module) -> None:
        super().__init__()
        for name, module in (("one_time", one_time), ("correction", correction)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"`{name}` must be an nn.Module of (s, t, x), got {type(module).__name__}; wrap it.")
        self.one_time, self.correction = one_time, correction
        self.accepted_conditions = tuple(k for k in CONDITIONS if takes(one_time, k) or takes(correction, k))

    def forward(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        def value(network: nn.Module, t: Times) -> State:
            own: State = network(s, t, x, **{k: v for k, v in conditions.items() if takes(network, k)})
            return own

        return value(self.one_time, s) + per_event(t - s, x) * value(self.correction, t)
