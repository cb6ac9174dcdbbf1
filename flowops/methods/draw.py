"""Everything random in a call of a method, drawn before the loss is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowops._keys import normal_like, rows_of
from flowops.interpolants import Interpolant
from flowops.methods.groups import groups_of
from flowops.methods.point import CONDITIONAL
from flowops.methods.term import Term
from flowops.times import Diagonal, UpperTriangle
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
    probes: Tensor | None = None

    def part(self, k: int, n: int) -> TermDraw | None:
        """The rows of the batch that are `k` modulo `n`, numbered anew; None if the term has none of them."""
        rows, own = share_of(self.rows, k, n)
        if rows.start == rows.stop:
            return None
        tensors = (value if value is None else value[own] for value in self[1:])
        return TermDraw(rows, *tensors)  # type: ignore[arg-type]


class Draw(NamedTuple):
    """Everything random, or driven by the step, in one call of a method; None for a term without rows.

    The factors are those of the terms with `balance="terms"`, the size of the joint batch over their rows in it.
    """

    terms: tuple[TermDraw | None, ...]
    seed: Tensor
    warmup: Tensor | None
    alpha: Tensor | None
    size: int
    factors: tuple[float, ...] | None = None

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
        rows_of(self.size, (k, n))
        terms = tuple(None if term is None else term.part(k, n) for term in self.terms)
        return self._replace(terms=terms, size=self.size // n)


def draw_terms(
    terms: Sequence[Term],
    o: Any,
    interpolant: Interpolant | None,
    x0: Tensor,
    x1: Tensor,
    *,
    labels: Tensor | None,
    null_label: int | None,
    alpha: float | None,
    step: int | None,
    seed: int,
    part: tuple[int, int] = (0, 1),
) -> Draw:
    r"""All draws of one call, which follow from `seed`; times are at least float32.

    One number per sample is drawn for the whole joint batch, of which the part then takes its rows; latents and probes
    are drawn for the part alone.

    Args:
        terms: terms of the method.
        o: its options.
        interpolant: draws a latent where it has one, and places the noise levels of laws; None for states.
        x0: base samples of the part.
        x1: data samples of the part.
        labels: one per sample of the part, or None.
        null_label: what a dropped label becomes.
        alpha: the step of `alpha-flow` at this step of the training, 0 at its limit; None for other methods.
        step: number of training steps done, or None.
        seed: seed of everything that is drawn.
        part: $(k,W)$ where the samples are the rows $k,k+W,\dots$ of a joint batch.
    """
    dtype, device = torch.promote_types(x0.dtype, torch.float32), x0.device
    n = part[1] * len(x0)
    own = slice(None) if part == (0, 1) else rows_of(n, part)
    generator = torch.Generator(device=device).manual_seed(seed)
    z = None
    if interpolant is not None and "gamma" in interpolant.coefficients:
        z = normal_like(x0, "latent", seed, part=part)
    signs = None
    if o.probes and any(term.joint for term in terms):
        signs = torch.stack([_signs(normal_like(x0, "probe", i, seed, part=part)) for i in range(o.probes)], 1)
    kept = torch.rand(n, generator=generator, device=device) >= o.label_dropout
    if labels is not None and null_label is not None and o.label_dropout:
        labels = torch.where(kept[own], labels, null_label)
    scales = None
    if isinstance(o.guidance, tuple):  # one per sample, 1 on those whose label was dropped
        low, high = o.guidance
        uniform = torch.rand(n, generator=generator, dtype=dtype, device=device)
        scales = torch.where(kept, low + (high - low) * uniform, 1.0)[own]
    kept = kept[own]
    chance = torch.rand((), generator=generator, device=device)
    last = o.law or terms[-1].law or UpperTriangle()
    drawn: list[TermDraw | None] = []
    factors: list[float] = []
    for term in terms:
        joint = seen(term.share, n, o.eta, chance.item)
        if o.balance == "terms":
            factors.append(_factor(term.share, joint, n, o.eta))
        if joint.start == joint.stop:
            drawn.append(None)
            continue
        law = last if term is terms[-1] else term.law or last
        if term.share == "eta" and o.diagonal is not None:
            law = Diagonal(o.diagonal)
        size = joint.stop - joint.start
        pairs = size if o.particles is None else groups_of(size, o.particles)
        s, t = law.draw(Request(pairs, interpolant, step, generator, dtype, device))
        fraction: Tensor | float = torch.rand(pairs, generator=generator, dtype=dtype, device=device)
        if term.fraction == "alpha" and alpha is not None:
            fraction = alpha
        elif term.fraction and (given := getattr(o, term.fraction)) is not None:
            fraction = given
        s, u, t = term.middle(s, t, fraction)
        if pairs < size:
            shared = torch.arange(size, device=device) % pairs
            s, u, t = s[shared], None if u is None else u[shared], t[shared]
        rows, within = share_of(joint, *part) if part[1] > 1 else (joint, slice(None))
        if rows.start == rows.stop:
            drawn.append(None)
            continue
        drawn.append(
            TermDraw(
                rows=rows,
                s=s[within],
                u=None if u is None else u[within],
                t=t[within],
                x0=x0[rows],
                x1=x1[rows],
                z=None if z is None else z[rows],
                labels=None if labels is None else labels[rows],
                kept=kept[rows],
                guidance=None if scales is None else _scales_of(term, o, scales[rows]),
                probes=signs[rows] if signs is not None and term.joint else None,
            )
        )
    # filled on the device: a tensor made of a number on the host is copied, and the host waits for the copy
    done = o.cap if step is None or step >= o.warmup else min(step / o.warmup, o.cap)
    warmup = x0.new_full((), done) if done < 1 else None
    held = x0.new_full((), alpha) if alpha else None
    return Draw(tuple(drawn), torch.tensor(seed), warmup, held, len(x0), tuple(factors) or None)


def _factor(share: str, rows: slice, n: int, eta: float) -> float:
    """What makes of a term's sum over the batch the mean over its own rows; of a batch of one, on average."""
    size = rows.stop - rows.start
    if share == "all" or not size:
        return 1.0
    return n / size if n > 1 else 1 / (eta if share == "eta" else 1 - eta)


def _scales_of(term: Term, o: Any, scales: Tensor) -> Tensor:
    """The scales that a term has of those drawn: 1 on the diagonal where the map's own velocity is guided."""
    return torch.ones_like(scales) if o.guides == "own" and term.velocity is CONDITIONAL else scales


def _signs(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)


def share_of(rows: slice, k: int, n: int) -> tuple[slice, slice]:
    """Of the rows of a batch those that are `k` modulo `n`: where they lie in that part of the batch, and in `rows`."""
    start, stop = (-((k - end) // n) for end in (rows.start, rows.stop))
    return slice(start, stop), slice((k - rows.start) % n, None, n)


def seen(share: str, n: int, eta: float, chance: Callable[[], float]) -> slice:
    """The part of a batch of `n` that a term sees: a constant size, at least one row where both parts are wanted."""
    if share == "all":
        return slice(0, n)
    if n == 1:
        first = int(chance() < eta)
    else:
        first = min(max(round(eta * n), int(eta > 0)), n - int(eta < 1))
    return slice(0, first) if share == "eta" else slice(first, n)
