"""Everything random in a call of a method, drawn before the loss is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowops.interpolants import Interpolant
from flowops.methods.term import Term
from flowops.times import UpperTriangle
from flowops.times.law import Request


class TermDraw(NamedTuple):
    """Everything random in one term, and the part of the batch it is evaluated on."""

    rows: slice
    s: Tensor
    u: Tensor | None
    t: Tensor
    x0: Tensor
    x1: Tensor
    z: Tensor | None
    labels: Tensor | None
    kept: Tensor
    guidance: Tensor | None = None

    def part(self, k: int, n: int) -> TermDraw | None:
        """The rows of the batch that are `k` modulo `n`, numbered anew; None if the term has none of them."""
        start, stop = (-((k - end) // n) for end in (self.rows.start, self.rows.stop))
        if start == stop:
            return None
        own = slice((k - self.rows.start) % n, None, n)
        tensors = (value if value is None else value[own] for value in self[1:])
        return TermDraw(slice(start, stop), *tensors)  # type: ignore[arg-type]


class Draw(NamedTuple):
    """Everything random, or driven by the step, in one call of a method; None for a term without rows."""

    terms: tuple[TermDraw | None, ...]
    seed: Tensor
    warmup: Tensor | None
    alpha: Tensor | None
    size: int

    def part(self, k: int, n: int) -> Draw:
        r"""Rows $k,k+n,k+2n,\dots$ of the batch, as the draw of a batch of that size.

        The loss of the whole draw is the mean of those of its `n` parts, and so is its gradient: ranks and accumulated
        micro-batches that share one draw follow the same step as one machine. Two exceptions: `contrastive-fm` pairs a
        sample with another one of its own part, so there the equality is one in law; an adaptive solve shares its
        steps among samples, so rows that solve an ODE agree to its tolerance. A part may have no row of a term, which
        then is None and absent from the result's terms.

        Raises:
            ValueError: unless `n` divides the batch and `0 <= k < n`.
        """
        if n < 1 or self.size % n:
            raise ValueError(f"`n` must divide the batch of {self.size} samples, got {n}; choose a multiple as batch.")
        if not 0 <= k < n:
            raise ValueError(f"`k` must be the number of a part, from 0 to {n - 1}, got {k}; pass one of them.")
        terms = tuple(None if term is None else term.part(k, n) for term in self.terms)
        return self._replace(terms=terms, size=self.size // n)


def draw_terms(
    terms: Sequence[Term],
    o: Any,
    interpolant: Interpolant,
    x0: Tensor,
    x1: Tensor,
    *,
    labels: Tensor | None,
    null_label: int | None,
    alpha: float | None,
    step: int | None,
    seed: int,
) -> Draw:
    """All draws of one call, which follow from `seed`; times are at least float32.

    Args:
        terms: terms of the method.
        o: its options.
        interpolant: draws a latent where it has one, and places the noise levels of laws.
        x0: base samples.
        x1: data samples.
        labels: one per sample, or None.
        null_label: what a dropped label becomes.
        alpha: the step of `alpha-flow` at this step of the training, None for other methods.
        step: number of training steps done, or None.
        seed: seed of everything that is drawn.
    """
    n, dtype, device = len(x0), torch.promote_types(x0.dtype, torch.float32), x0.device
    generator = torch.Generator(device=device).manual_seed(seed)
    z = None
    if "gamma" in interpolant.coefficients:
        z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device)
    kept = torch.rand(n, generator=generator, device=device) >= o.label_dropout
    if labels is not None and null_label is not None and o.label_dropout:
        labels = torch.where(kept, labels, null_label)
    scales = None
    if isinstance(o.guidance, tuple):  # one per sample, 1 on those whose label was dropped
        low, high = o.guidance
        uniform = torch.rand(n, generator=generator, dtype=dtype, device=device)
        scales = torch.where(kept, low + (high - low) * uniform, 1.0)
    chance = torch.rand((), generator=generator, device=device)
    last = o.law or terms[-1].law or UpperTriangle()
    drawn: list[TermDraw | None] = []
    for term in terms:
        rows = rows_of(term.share, n, o.eta, chance.item)
        if rows.start == rows.stop:
            drawn.append(None)
            continue
        law = last if term is terms[-1] else term.law or last
        size = rows.stop - rows.start
        s, t = law.draw(Request(size, interpolant, step, generator, dtype, device))
        fraction: Tensor | float = torch.rand(size, generator=generator, dtype=dtype, device=device)
        if term.fraction == "alpha":
            fraction = alpha or 0.0
        elif term.fraction and (given := getattr(o, term.fraction)) is not None:
            fraction = given
        s, u, t = term.middle(s, t, fraction)
        drawn.append(
            TermDraw(
                rows=rows,
                s=s,
                u=u,
                t=t,
                x0=x0[rows],
                x1=x1[rows],
                z=None if z is None else z[rows],
                labels=None if labels is None else labels[rows],
                kept=kept[rows],
                guidance=None if scales is None else scales[rows],
            )
        )
    warmup = None if step is None or step >= o.warmup else torch.tensor(step / o.warmup, device=device).to(x0.dtype)
    held = torch.tensor(alpha, dtype=torch.float64).to(x0) if alpha else None
    return Draw(tuple(drawn), torch.tensor(seed), warmup, held, n)


def rows_of(share: str, n: int, eta: float, chance: Callable[[], float]) -> slice:
    """The part of a batch of `n` that a term sees: a constant size, at least one row where both parts are wanted."""
    if share == "all":
        return slice(0, n)
    if n == 1:
        first = int(chance() < eta)
    else:
        first = min(max(round(eta * n), int(eta > 0)), n - int(eta < 1))
    return slice(0, first) if share == "eta" else slice(first, n)
