"""What moves the weights: the optimizer of a configuration, its rate by the step, the clip, and steps that it skips."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer, RAdam

from flowops._arguments import number, whole
from flowops.methods import MethodResult
from flowops.runs.settings import OptimizerConfig

Kind: TypeAlias = Literal["constant", "inverse-sqrt", "cosine", "linear"]
DECAY = 0.99  # of the running norm: it is the mean of some hundred steps


class MuonAndAdam(Optimizer):
    """Muon for the square matrices and Adam for everything else, as one optimizer with two groups of parameters.

    Source: Jordan et al. 2024; the scale of Liu et al. 2502.16982 brings Muon's steps to the size of Adam's.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], config: OptimizerConfig) -> None:
        self.parts: list[Optimizer] = []
        if others:
            self.parts.append(Adam(others, lr=config.rate, betas=(config.beta1, config.beta2), fused=True))
        if matrices:
            rate = config.matrix_rate
            self.parts.append(torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
            self.parts[-1].param_groups[0]["rate"] = rate
        super().__init__([{"params": part.param_groups[0]["params"]} for part in self.parts], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        for part in self.parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Those of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from those of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            restore(part, state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def optimizer_of(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer of a configuration over the parameters that learn; see `set_rates`."""
    learned = [p for p in parameters if p.requires_grad]
    shared: dict[str, Any] = {"lr": config.rate, "betas": (config.beta1, config.beta2)}
    if config.kind == "muon":
        matrices = [p for p in learned if p.ndim == 2 and p.shape[0] == p.shape[1]]
        chosen = {id(p) for p in matrices}
        return MuonAndAdam(matrices, [p for p in learned if id(p) not in chosen], config)
    if config.kind == "radam":
        return RAdam(learned, capturable=any(p.is_cuda for p in learned), **shared)
    if config.kind == "adamw":
        return AdamW(learned, weight_decay=config.weight_decay, fused=True, **shared)
    return Adam(learned, fused=True, **shared)


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Go on from a state under the optimizer's own settings, those of its device among them."""
    if "param_groups" in state:
        groups = [
            {**own, "params": held["params"]}
            for own, held in zip(optimizer.param_groups, state["param_groups"], strict=True)
        ]
        state = {**state, "param_groups": groups}
    optimizer.load_state_dict(state)


def set_rates(optimizer: Optimizer, config: OptimizerConfig, factor: float) -> None:
    """Give every group of parameters its learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group.get("rate", config.rate)


@torch.no_grad()
def update(optimizer: Optimizer, finite: Tensor | bool) -> None:
    """A step of the optimizer if the gradient is finite, and nothing if it is not.

    Args:
        optimizer: its state is left as it was where the step is skipped.
        finite: whether it is finite, or a 0-d boolean on its device, for which the host does not wait.

    Cost: beyond the step, for a tensor and an optimizer that is not fused, a copy of weights and state.
    """
    if isinstance(finite, bool):
        if finite:
            optimizer.step()
        return
    for part in getattr(optimizer, "parts", [optimizer]):
        if part.defaults.get("fused"):
            part.found_inf = (~finite).float()
            part.step()
        else:
            _step_and_choose(part, finite)


def _step_and_choose(optimizer: Optimizer, finite: Tensor) -> None:
    """A step, after which weights and state are the new ones or the old ones."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    old = [p.clone() for p in parameters]
    states = {p: {k: v.clone() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)} for p in parameters}
    optimizer.step()
    for p, before in zip(parameters, old, strict=True):
        p.copy_(torch.where(finite, p, before))
        for name, value in optimizer.state[p].items():
            if isinstance(value, Tensor):
                taken = finite.to(value.device)  # a count of steps may be on the host
                value.copy_(torch.where(taken, value, states[p].get(name, torch.zeros_like(value))))


def rate_factor(
    step: int, *, kind: Kind = "constant", warmup: int = 0, decay_start: int = 35_000, steps: int = 0, done: float = 0.0
) -> float:
    r"""The factor $\min\big(1,\tfrac{k+1}{w}\big)\cdot d(k)$ of the learning rate of the step that follows $k$ others.

    $d$ is 1 for constant and $\min(1,\sqrt{k_0/k})$ with $k_0$ = `decay_start` for inverse-sqrt. For linear, $1-p$, and
    cosine, $\tfrac12(1+\cos\pi p)$, it falls from 1 at the end of the warm-up towards 0 at the end of the run:
    $p=(k-w)/(n-w)$ with $n$ = `steps`, or `done` where that is further.

    Args:
        step: number of steps $k$ done before, from 0.
        kind: which $d$.
        warmup: number of steps $w$ in which the rate rises, 0 for none.
        decay_start: step $k_0$ after which inverse-sqrt falls.
        steps: steps of the run, 0 where only the time ends it; used by linear and cosine only.
        done: the part of its time that has passed, of a run that ends by the clock.

    Raises:
        ValueError: for an unknown kind, numbers out of range, and a step that a kind which ends does not have.

    Source: the inverse square root is that of 2505.18825 appendix G.2.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"`kind` must be one of {', '.join(get_args(Kind))}, got {kind!r}.")
    for name, value, least in (("step", step, 0), ("warmup", warmup, 0), ("decay_start", decay_start, 1)):
        whole(value, name, least)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if kind == "constant":
        return rise
    if kind == "inverse-sqrt":
        return rise * min(1.0, math.sqrt(decay_start / max(step, 1)))
    if steps and (step >= steps or warmup >= steps):
        raise ValueError(
            f"`step` and `warmup` must be below `steps` = {steps} for a {kind} rate, got {step} and {warmup}; "
            f"raise `steps`, or take a constant rate."
        )
    p = max(max(0, step - warmup) / (steps - warmup) if steps else 0.0, min(number(done, "done"), 1.0))
    return rise * (1 - p if kind == "linear" else 0.5 * (1 + math.cos(math.pi * p)))


class NotFinite(RuntimeError):
    """The loss was not finite for several steps in a row."""


class FiniteSteps:
    """Counts the steps that are skipped because their loss or gradient is not finite, on the device.

    Attributes:
        total: number of them so far, 0-d.
        streak: number of them in a row up to now, 0-d.

    Args:
        patience: number of them in a row after which the run stops.
        device: where the gradients are.
    """

    def __init__(self, patience: int, device: torch.device | str = "cpu") -> None:
        self.patience, self.device = patience, torch.device(device)
        self.restore(0, 0)

    def restore(self, total: int, streak: int) -> None:
        """Go on from these numbers."""
        self.total, self.streak = (torch.full((), n, dtype=torch.long, device=self.device) for n in (total, streak))

    def note(self, finite: Tensor) -> None:
        """Count one step, of a 0-d boolean on the device; the host does not wait."""
        missed = (~finite).long()
        self.total, self.streak = self.total + missed, (self.streak + missed) * missed

    def read(self) -> tuple[int, int]:
        """Total and streak; the host waits for the device."""
        total, streak = torch.stack([self.total, self.streak]).tolist()
        return total, streak

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end; the host waits for the device."""
        return self.read()[1] >= self.patience

    def explain(self, step: int, results: list[MethodResult]) -> str:
        """The sentences with which the run ends: what was not finite, where, and how to replay it."""
        found = [str(fault) for result in results if (fault := result.nonfinite()) is not None]
        where = found[0] if found else "The loss is finite, its gradient is not."
        return (
            f"Stopped at step {step}: {self.read()[1]} steps in a row had no finite loss or gradient. {where} Every "
            f"checkpoint is kept; lower `optimizer.rate`, or choose another weight or norm."
        )


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
