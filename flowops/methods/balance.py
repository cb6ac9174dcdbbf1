r"""Two terms that pull the last layer of a network alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

MOST = 1e4  # of the factor, as in the sources


def last_parameters(X: nn.Module) -> list[Tensor]:
    """The trained parameters of the attribute `last`, a layer or a parameter, of a network inside.

    Raises:
        ValueError: if no module inside has one that is trained.
    """
    for module in X.modules():
        last = getattr(module, "last", None)
        found = [last] if isinstance(last, Tensor) else list(last.parameters()) if isinstance(last, nn.Module) else []
        if found := [parameter for parameter in found if parameter.requires_grad]:
            return found
    raise ValueError(
        f'`balance` must be "rows" or "terms" for a network whose last layer is not known, got "gradients" for '
        f"{type(X).__name__}; give the network an attribute `last`, the layer that it ends with."
    )


def balanced(per_term: Mapping[str, Tensor], diagonal: Sequence[str], X: nn.Module) -> dict[str, Tensor]:
    """What each term adds to each sample, those of the diagonal times the `factor_of` both sums."""
    first, last = (
        torch.stack([values.mean() for name, values in per_term.items() if (name in diagonal) is on]).sum()
        for on in (True, False)
    )
    factor = factor_of(first, last, X)
    return {name: factor * values if name in diagonal else values for name, values in per_term.items()}


def factor_of(first: Tensor, last: Tensor, X: nn.Module) -> Tensor:
    r"""$|\nabla_\omega L_2|/|\nabla_\omega L_1|$, 0-d, for losses $L_1,L_2$ of a map with last layer $\omega$.

    With it before $L_1$ both have gradients of one length there; it is a constant of the gradient, at most $10^4$, and
    1 where one of the two gradients is zero or none is recorded.

    Cost: two backward passes down to the last layer, through every call of the network inside another.
    Source: Esser et al. 2012.09841 (7); Kim et al. 2310.02279 §5, $\lambda_{DSM}$.
    """
    if not (torch.is_grad_enabled() and first.requires_grad and last.requires_grad):
        return torch.ones_like(first)
    parameters = last_parameters(X)
    lengths = [
        _length(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)) for loss in (first, last)
    ]
    ratio = lengths[1] / lengths[0]
    usable = (lengths[0] > 0) & (lengths[1] > 0)
    return torch.where(usable, ratio.clamp(max=MOST), 1.0).to(first.dtype)


def _length(gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([g.norm() for g in gradients if g is not None] or [torch.zeros(())]).norm()
