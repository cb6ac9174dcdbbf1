"""The loss of a method at what it drew: a pure function of tensors and operators, batched throughout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap
from flowops.methods.draws import null_label
from flowops.methods.norms import Squared
from flowops.methods.options import takes_condition
from flowops.methods.point import Difference, Draw, Point, TermDraw
from flowops.methods.result import MethodResult
from flowops.methods.sources import solve
from flowops.methods.term import Term

if TYPE_CHECKING:
    from flowops.methods.method import Method

Teacher = VelocityField | FlowMap | None


def evaluate_terms(method: Method, X: FlowMap, interpolant: Interpolant, draw: Draw, teacher: Teacher) -> MethodResult:
    """Every term on its rows, and their sum."""
    present = [(term, drawn) for term, drawn in zip(method.terms, draw.terms, strict=True) if drawn is not None]
    n = present[-1][1].rows.stop
    points = [point_of(method, term, drawn, draw, X, interpolant, teacher) for term, drawn in present]
    per_term: dict[str, Tensor] = {}
    for (term, drawn), k in zip(present, points, strict=True):
        for name, difference in term.sides(k).items():
            values = _per_sample(method, k, difference)
            values = torch.nn.functional.pad(values, (drawn.rows.start, n - drawn.rows.stop))
            per_term[name] = per_term[name] + values if name in per_term else values
    per_sample = torch.stack(list(per_term.values())).sum(0)
    terms = {name: values.mean() for name, values in per_term.items()}
    parts = {drawn.rows.start: k for (_, drawn), k in zip(present, points, strict=True)}  # the last of several terms
    s, t = torch.cat([k.s for k in parts.values()]), torch.cat([k.t for k in parts.values()])
    return MethodResult(per_sample.mean(), terms, per_sample, s, t, per_term, draw.seed)


def point_of(
    method: Method, term: Term, drawn: TermDraw, draw: Draw, X: FlowMap, interpolant: Interpolant, teacher: Teacher
) -> Point:
    """The operators conditioned on the term's labels, and the state it starts from."""
    o = method.options
    unconditional, unguided, guidance = None, None, None
    if drawn.labels is not None:
        if o.guidance != 1:
            null = torch.full_like(drawn.labels, null_label(method, X))
            unconditional, unguided = X.given(label=null), _given(teacher, label=null)
            scale = torch.where(drawn.kept, o.guidance, 1.0) if drawn.guidance is None else drawn.guidance
            guidance = scale.to(drawn.x0.dtype)
        X, teacher = X.given(label=drawn.labels), _given(teacher, label=drawn.labels)
    if unconditional is not None and (scales := drawn.guidance) is not None:
        X, unconditional = X.given(guidance=scales), unconditional.given(guidance=torch.ones_like(scales))
        if isinstance(teacher, FlowMap) and takes_condition(teacher, "guidance"):  # it is a guided flow itself
            teacher, unguided = teacher.given(guidance=scales), None
    s, x0, x1, z = drawn.s, drawn.x0, drawn.x1, drawn.z
    frozen = bool(term.stop) and o.stop_gradient
    k = Point(
        X, unconditional, teacher, unguided, interpolant, s, drawn.u, drawn.t, x0, x0, x1, z, guidance,
        term.velocity, frozen, draw.warmup, draw.alpha, o,
    )  # fmt: skip
    if term.pairs == "teacher flow":
        k = replace(k, x1=solve(k, torch.zeros_like(s), torch.ones_like(s), x0))
    if getattr(o, "start", "interpolant") == "interpolant" or term.share == "eta":
        return replace(k, x=interpolant(s, x0, k.x1, z))
    with torch.no_grad():
        return replace(k, x=X(torch.zeros_like(s), s, x0))


def _per_sample(method: Method, k: Point, difference: Difference) -> Tensor:
    """Norm and weight of one difference, `[batch]`."""
    o = method.options
    delta = difference.left - (difference.right.detach() if k.frozen else difference.right)
    if k.frozen and o.normalize is not None:
        held = delta.detach()
        length = Squared()(held).sqrt().reshape(-1, *[1] * (held.ndim - 1))
        delta = delta - held + held / (length + o.normalize)
    loss, squared = o.norm(delta), Squared()(delta)
    return difference.factor * method.weight(o.adaptive(loss, squared, k.s, k.t), squared, k.s, k.t)


def _given(teacher: Teacher, *, label: Tensor) -> Teacher:
    """The teacher on these labels, if it takes any."""
    return teacher.given(label=label) if teacher is not None and takes_condition(teacher, "label") else teacher
