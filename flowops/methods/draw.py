"""Everything random in a call of a method, drawn before the loss is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowops._keys import normal_like, rows_of
from flowops.interpolants import Interpolant
from flowops.methods.groups import groups_of
from flowops.methods.guidance import PowerLaw, RandomInterval, whole_at_one
from flowops.methods.point import CONDITIONAL
from flowops.methods.term import Term
from flowops.times import Diagonal, Leap, ThreeTimes, TimeLaw, UpperTriangle, ahead, behind
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
    interval: Tensor | None = None
    path: Tensor | None = None
    augment: Tensor | None = None

    @property
    def told(self) -> dict[str, Tensor]:
        """What the map is told of its guidance, by the names of the conditions."""
        given = {"guidance": self.guidance, "interval": self.interval}
        return {name: value for name, value in given.items() if value is not None}

    def part(self, k: int, n: int) -> TermDraw | None:
        """The rows of the batch that are `k` modulo `n`, numbered anew; None if the term has none of them."""
        rows, own = share_of(self.rows, k, n)
        if rows.start == rows.stop:
            return None
        tensors = (value if value is None else value[own] for value in self[1:])
        return TermDraw(rows, *tensors)  # type: ignore[arg-type]


class Draw(NamedTuple):
    """Everything random, or driven by the step, in one call of a method; None for a term without rows.

    The factors are those of the terms unless `balance="rows"`, the size of the joint batch over their rows in it.
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
        micro-batches that share one draw follow the same step as one machine. Exceptions: `contrastive-fm` pairs a
        sample with another one of its own part, so there the equality is one in law; an adaptive solve shares its
        steps among samples, so rows that solve an ODE agree to its tolerance; with `balance="gradients"` every part has
        a factor of its own. A part may have no row of a term, which then is None and absent from the result's terms.

        Raises:
            ValueError: unless `n` divides the batch and `0 <= k < n`.
        """
        rows_of(self.size, (k, n))
        terms = tuple(None if term is None else term.part(k, n) for term in self.terms)
        return self._replace(terms=terms, size=self.size // n)

    def few(self, rows: int) -> tuple[int, int]:
        """The smallest `part` of so many rows or more, an even number, with rows of every term: which, of how many."""
        for n in range(self.size // rows, 1, -1):
            if self.size % n == 0 and self.size // n % 2 == 0:
                for k in range(min(n, 32)):
                    part = self.part(k, n)
                    if all(
                        (mine is None) == (whole is None) for mine, whole in zip(part.terms, self.terms, strict=True)
                    ):
                        return k, n
        return 0, 1


class _Columns(NamedTuple):
    """The samples of a part of the batch with what is drawn for each of them, whichever terms they are in."""

    x0: Tensor
    x1: Tensor
    z: Tensor | None
    labels: Tensor | None
    kept: Tensor
    guidance: Tensor | None
    interval: Tensor | None
    probes: Tensor | None
    augment: Tensor | None


def draw_terms(
    terms: Sequence[Term],
    o: Any,
    interpolant: Interpolant | None,
    x0: Tensor,
    x1: Tensor,
    *,
    labels: Tensor | None,
    null_label: float | None,
    augment: Tensor | None,
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
        labels: classes, or conditions with values of any shape, one per sample of the part, or None.
        null_label: what a dropped label becomes.
        augment: what was done to each data sample of the part, or None.
        alpha: the step of `alpha-flow` at this step of the training, 0 at its limit; None for other methods.
        step: number of training steps done, or None.
        seed: seed of everything that is drawn.
        part: $(k,W)$ where the samples are the rows $k,k+W,\dots$ of a joint batch.
    """
    dtype, device = torch.promote_types(x0.dtype, torch.float32), x0.device
    generator = torch.Generator(device=device).manual_seed(seed)
    joint = Request(part[1] * len(x0), interpolant, step, generator, dtype, device)
    columns = _columns(terms, o, joint, x0, x1, labels, null_label, augment, seed, part)
    shares = shares_of(joint.n, o.eta, torch.rand((), generator=generator, device=device))
    drawn: list[TermDraw | None] = []
    factors: list[float] = []
    for term in terms:
        rows = shares[term.share]
        if o.balance != "rows":
            factors.append(_factor(term.share, rows, joint.n, o.eta))
        drawn.append(None if rows.start == rows.stop else _drawn(term, terms[-1], o, joint, columns, rows, alpha, part))
    # filled on the device: a tensor made of a number on the host is copied, and the host waits for the copy
    done = o.cap if step is None or step >= o.warmup else min(step / o.warmup, o.cap)
    warmup = x0.new_full((), done) if done < 1 else None
    held = x0.new_full((), alpha) if alpha else None
    return Draw(tuple(drawn), torch.tensor(seed), warmup, held, len(x0), tuple(factors) or None)


def _columns(
    terms: Sequence[Term],
    o: Any,
    joint: Request,
    x0: Tensor,
    x1: Tensor,
    labels: Tensor | None,
    null_label: float | None,
    augment: Tensor | None,
    seed: int,
    part: tuple[int, int],
) -> _Columns:
    """The part's latents, probes, labels, scales and intervals of guidance; arguments as of `draw_terms`."""
    n, generator, device = joint.n, joint.generator, joint.device
    own = slice(None) if part == (0, 1) else rows_of(n, part)
    z = None
    if joint.interpolant is not None and "gamma" in joint.interpolant.coefficients:
        z = normal_like(x0, "latent", seed, part=part)
    probes = None
    if o.probes and any(term.joint for term in terms):
        probes = torch.stack([_signs(normal_like(x0, "probe", i, seed, part=part)) for i in range(o.probes)], 1)
    kept = torch.rand(n, generator=generator, device=device) >= o.label_dropout
    if labels is not None and null_label is not None and o.label_dropout:
        labels = torch.where(kept[own].reshape(-1, *[1] * (labels.ndim - 1)), labels, null_label)
    guidance = interval = None
    if isinstance(o.guidance, PowerLaw):  # one per sample, 1 on those whose label was dropped
        uniform = torch.rand(n, generator=generator, dtype=joint.dtype, device=device)
        guidance = torch.where(kept, o.guidance.quantile(uniform), 1.0)[own]
    if isinstance(o.guidance_interval, RandomInterval):
        uniform = torch.rand(n, 2, generator=generator, dtype=joint.dtype, device=device)
        interval = o.guidance_interval.quantile(uniform)[own]
    return _Columns(x0, x1, z, labels, kept[own], guidance, interval, probes, augment)


def _drawn(
    term: Term,
    last: Term,
    o: Any,
    joint: Request,
    columns: _Columns,
    rows: slice,
    alpha: float | None,
    part: tuple[int, int],
) -> TermDraw | None:
    """The times of a term on these rows of the joint batch, with what the part has of them; None if it has none."""
    law = law_of(term, last, o)
    size, device = rows.stop - rows.start, joint.device
    pairs = size if o.particles is None else groups_of(size, o.particles)
    request = replace(joint, n=pairs)
    three = law.triple(request) if isinstance(law, ThreeTimes) else None
    s, t = law.draw(request) if three is None else (three.s, three.t)
    fraction: Tensor | float = torch.rand(pairs, generator=joint.generator, dtype=joint.dtype, device=device)
    if term.fraction == "alpha" and alpha is not None:
        fraction = alpha
    elif term.fraction and (given := getattr(o, term.fraction)) is not None:
        fraction = given
    s, u, t = term.middle(s, t, fraction)
    u, path = (u, None) if three is None else _between(term, three, u)
    if pairs < size:
        shared = torch.arange(size, device=device) % pairs
        s, t = s[shared], t[shared]
        u, path = (None if held is None else held[shared] for held in (u, path))
    rows, within = share_of(rows, *part) if part[1] > 1 else (rows, slice(None))
    if rows.start == rows.stop:
        return None
    z, labels, probes, intervals = columns.z, columns.labels, columns.probes, columns.interval
    scales = None if columns.guidance is None else _scales_of(term, o, columns.guidance[rows])
    return TermDraw(
        rows=rows,
        s=s[within],
        u=None if u is None else u[within],
        t=t[within],
        x0=columns.x0[rows],
        x1=columns.x1[rows],
        z=None if z is None else z[rows],
        labels=None if labels is None else labels[rows],
        kept=columns.kept[rows],
        guidance=scales,
        probes=probes[rows] if probes is not None and term.joint else None,
        interval=None if scales is None or intervals is None else whole_at_one(scales, intervals[rows]),
        path=None if path is None else path[within],
        augment=None if columns.augment is None else columns.augment[rows],
    )


def law_of(term: Term, last: Term, o: Any) -> TimeLaw:
    """The law of the times of a term: its own, that of the last term, or what the options put in their place."""
    if term.share == "eta" and o.diagonal is not None:
        return Diagonal(o.diagonal)
    law: TimeLaw = o.law or last.law or UpperTriangle()
    return law if term is last else term.law or law


def _between(term: Term, three: Leap, u: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The time between and the steps of a law of three times, where the term wants them.

    A step that is the fraction `alpha` of the way stays that, since the loss weighs by it.
    """
    wanted = term.whole if three.u is None else term.middle in (ahead, behind) and term.fraction != "alpha"
    return (three.u, three.path) if wanted else (u, None)


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


def shares_of(n: int, eta: float, chance: Tensor) -> dict[str, slice]:
    """The part of a batch of `n` that a term of each share sees.

    Their sizes are constant, with at least one row each where both parts are wanted; a batch of one is in the part
    `eta` if the number `chance`, uniform on [0, 1), is smaller.
    """
    first = min(max(round(eta * n), int(eta > 0)), n - int(eta < 1))
    if n == 1 and 0 < eta < 1:
        first = int(chance.item() < eta)
    return {"all": slice(0, n), "eta": slice(0, first), "rest": slice(first, n)}
