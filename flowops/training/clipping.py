r"""The largest norm that a gradient may have: a number, or a multiple of what the norms have been."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.99  # of the running norm: it is the mean of some hundred steps


class Clip:
    r"""Scales gradients down to a largest norm $\ell$, on their device; the host does not wait.

    With the unit "one" $\ell=c$ for the number $c$ = `limit`. A loss that is summed over the event has a gradient that
    grows with it, so that $c=1$ acts now and then for points, and at every step for images, where it makes of the
    optimizer a normalized one. With "running-norm" $\ell_k=c\,m_k$, with $m_k$ the mean of the norms of the steps
    before, each of them taken as at most its own $\ell$:

    $$m_{k+1}=m_k+\max(1-\beta,\tfrac1k)\,\big(\min(g_k,\ell_k)-m_k\big),\qquad \ell_1=\infty,\quad\beta=0.99.$$

    A loss times a number changes neither which steps are clipped nor by how much, so $c$ means the same on every size
    of event and under every weight. A single spike of any height raises $m$ by at most $(c-1)\%$; norms that stay
    larger are followed, by that much at every step. Steps whose norm is not finite leave $m$ as it is.

    Args:
        limit: $c$; 0 for no limit.
        unit: "one" or "running-norm".

    Source: ours; adaptive limits are those of AutoClip, Seetharaman et al. 2007.14469, by quantiles of all norms.
    """

    def __init__(self, limit: float, unit: str = "one") -> None:
        self.limit, self.running = limit, unit == "running-norm" and limit > 0
        self.mean: Tensor | None = None
        self.steps: Tensor | None = None  # finite ones, on the device of the gradients

    @torch.no_grad()
    def __call__(self, parameters: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """The norm of the gradient before it was scaled, and the largest one that was allowed, both 0-d."""
        gradients = [p for p in parameters if p.grad is not None]
        if not self.running:
            norm = nn.utils.clip_grad_norm_(gradients, self.limit or math.inf)
            return norm, torch.full_like(norm, self.limit or math.inf)
        values = [p.grad for p in gradients if p.grad is not None]
        norm = nn.utils.get_total_norm(values)
        most = self._most(norm)
        torch._foreach_mul_(values, torch.where(norm > most, most / norm, 1.0))
        self._note(norm, most)
        return norm, most

    def _most(self, norm: Tensor) -> Tensor:
        if self.mean is None or self.steps is None:
            self.mean = torch.zeros_like(norm) if self.mean is None else self.mean.to(norm)
            self.steps = torch.zeros_like(norm)
        self.mean, self.steps = self.mean.to(norm), self.steps.to(norm)
        return torch.where(self.steps > 0, self.limit * self.mean, math.inf)

    def _note(self, norm: Tensor, most: Tensor) -> None:
        assert self.mean is not None
        assert self.steps is not None
        share = torch.clamp(1 / (self.steps + 1), min=1 - DECAY)
        finite = norm.isfinite()
        self.mean = torch.where(finite, torch.lerp(self.mean, torch.minimum(norm, most), share), self.mean)
        self.steps = self.steps + finite.to(self.steps)

    def state_dict(self) -> dict[str, Any]:
        """What it goes on from: the running norm and the number of finite steps, empty before the first one."""
        return {} if self.mean is None else {"mean": self.mean, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; an empty one begins anew."""
        self.mean, self.steps = state.get("mean"), state.get("steps")
