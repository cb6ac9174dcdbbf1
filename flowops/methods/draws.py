"""Everything random in a call of a method, drawn before the loss is evaluated."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowops.interpolants import Interpolant
from flowops.maps import FlowMap
from flowops.methods.point import Draw, TermDraw
from flowops.methods.term import Term, rows_of
from flowops.times import UpperTriangle

if TYPE_CHECKING:
    from flowops.methods.method import Method

ALPHA_CLAMP = 0.005  # below it alpha-flow takes its limit, as in the paper
ALPHA_SLOPE = 25.0  # of its sigmoid over the interval of annealing


def draw_terms(
    method: Method,
    X: FlowMap,
    interpolant: Interpolant,
    x0: Tensor,
    x1: Tensor,
    labels: Tensor | None,
    step: int | None,
    seed: int,
) -> Draw:
    """All draws of one call, which follow from `seed`; times are at least float32."""
    generator = torch.Generator(device=x0.device).manual_seed(seed)
    z = _normal(x0, generator) if interpolant.has_latent else None
    kept = torch.rand(len(x0), generator=generator, device=x0.device) >= method.options.label_dropout
    if labels is not None and method.options.label_dropout:
        labels = torch.where(kept, labels, null_label(method, X))
    scales = _scales(method, x0, kept, generator)
    o = copy.copy(method.options)
    o.alpha = alpha_at(o, step)
    eta = getattr(o, "eta", 1.0)
    chance = torch.rand((), generator=generator, device=x0.device)
    terms: list[TermDraw | None] = []
    for term in method.terms:
        rows = rows_of(term.share, len(x0), eta, chance.item)
        if rows.start == rows.stop:
            terms.append(None)
            continue
        times = _times(method, term, o, rows.stop - rows.start, interpolant, x0, step, generator)
        z_, labels_, scales_ = (None if value is None else value[rows] for value in (z, labels, scales))
        terms.append(TermDraw(rows, *times, x0[rows], x1[rows], z_, labels_, kept[rows], scales_))
    warmup = None if step is None or step >= o.warmup else torch.tensor(step / o.warmup, device=x0.device)
    alpha = torch.tensor(o.alpha, dtype=torch.float64).to(x0) if o.alpha else None
    return Draw(tuple(terms), torch.tensor(seed), None if warmup is None else warmup.to(x0.dtype), alpha)


def null_label(method: Method, X: FlowMap) -> int:
    """The label that stands for none: the option, or the `null_label` of a network inside the map."""
    if method.options.null_label is not None:
        return int(method.options.null_label)
    for module in X.modules():
        if isinstance(label := getattr(module, "null_label", None), int):
            return label
    raise ValueError(
        "`null_label` must be known to drop labels or to guide, got None and no network with a `null_label`; pass it "
        "as an option."
    )


def alpha_at(o: SimpleNamespace, step: int | None) -> float | None:
    r"""$\alpha$ of `alpha-flow` at a step: the option, or the annealing along a sigmoid, clamped at both ends."""
    given = getattr(o, "alpha", None)
    if given is not None or not hasattr(o, "anneal"):
        return given if given is None or given > 0 else 0.0
    start, end = o.anneal
    if step is None or step >= end:
        return 0.0
    alpha = 1 - 1 / (1 + math.exp(-ALPHA_SLOPE * ((step - start) / (end - start) - 0.5)))
    return 1.0 if alpha > 1 - ALPHA_CLAMP else 0.0 if alpha < ALPHA_CLAMP else alpha


def _times(
    method: Method,
    term: Term,
    o: SimpleNamespace,
    n: int,
    interpolant: Interpolant,
    x: Tensor,
    step: int | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor | None, Tensor]:
    last = o.law or method.terms[-1].law or UpperTriangle()
    law = last if term is method.terms[-1] else term.law or last
    dtype = torch.promote_types(x.dtype, torch.float32)
    s, t = law(n, interpolant=interpolant, step=step, generator=generator, dtype=dtype, device=x.device)
    uniform = torch.rand(n, generator=generator, dtype=dtype, device=x.device)
    return term.middle(s, t, uniform, o)


def _scales(method: Method, x: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor | None:
    """One guidance scale per sample where the option is a range, 1 on the samples whose label was dropped."""
    if not isinstance(method.options.guidance, tuple):
        return None
    low, high = method.options.guidance
    dtype = torch.promote_types(x.dtype, torch.float32)
    uniform = torch.rand(len(x), generator=generator, dtype=dtype, device=x.device)
    return torch.where(kept, low + (high - low) * uniform, 1.0)


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
