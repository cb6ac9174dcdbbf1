"""Learning rates as functions of the step."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

from flowops._arguments import number

Kind: TypeAlias = Literal["constant", "inverse-sqrt", "cosine", "linear"]


def learning_rate(
    step: int, *, base: float, kind: Kind = "constant", warmup: int = 0, decay_start: int = 35_000, steps: int
) -> float:
    r"""The rate $r\cdot\min\big(1,\tfrac{k+1}{w}\big)\cdot d(k)$ of the step that follows $k$ = `step` others.

    $d$ is 1 for constant and $\min(1,\sqrt{k_0/k})$ with $k_0$ = `decay_start` for inverse-sqrt. For linear, $1-p$, and
    cosine, $\tfrac12(1+\cos\pi p)$, it falls from 1 at the end of the warm-up towards 0 at $k$ = `steps`, which no step
    has: every rate is positive.

    Args:
        step: number of steps done before, from 0.
        base: the rate $r$.
        kind: which $d$.
        warmup: number of steps $w$ in which the rate rises, 0 for none.
        decay_start: of inverse-sqrt only.
        steps: of the run; used by linear and cosine only.

    Raises:
        ValueError: for an unknown kind, numbers out of range, and a step that a kind which ends does not have.
        TypeError: for a rate that is no number.

    Source: the inverse square root is that of 2505.18825 appendix G.2.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"`kind` must be one of {', '.join(get_args(Kind))}, got {kind!r}.")
    if number(base, "base") <= 0:
        raise ValueError(f"`base` must be a positive rate, got {base}; pass 1e-3, say.")
    for name, value, least in (("step", step, 0), ("warmup", warmup, 0), ("decay_start", decay_start, 1)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if kind == "constant":
        return base * rise
    if kind == "inverse-sqrt":
        return base * rise * min(1.0, math.sqrt(decay_start / max(step, 1)))
    if step >= steps or warmup >= steps:
        raise ValueError(
            f"`step` and `warmup` must be below `steps` = {steps} for a {kind} rate, got {step} and {warmup}; "
            f"raise `steps`, or take a constant rate."
        )
    p = max(0, step - warmup) / (steps - warmup)
    return base * rise * (1 - p if kind == "linear" else 0.5 * (1 + math.cos(math.pi * p)))
