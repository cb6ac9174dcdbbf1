r"""Consistency models that are held by something else: by flow matching, or by the map of an earlier stage."""

import math

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._derivatives import records
from flowops.maps import FlowMap
from flowops.methods.compared import advanced, eulerian_velocity, tangent
from flowops.methods.declare import row
from flowops.methods.norms import MeanSquared
from flowops.methods.options import DERIVATIVES, ETA, STOP_GRADIENT, Option, between, optional
from flowops.methods.point import CONDITIONAL, TEACHER_OR_CONDITIONAL, Difference, Differences, TermPoint
from flowops.methods.term import Term
from flowops.times import EndpointFixed, Shrinking, Uniform, on_diagonal

INFINITY = float("inf")
RELAXATION = Option(
    "relaxation",
    0.5,
    "exponent p of the share 1 - s^p of the tangent that is taken",
    "a positive number",
    between(0.0, INFINITY, open_low=True),
)
CLAMP = Option(
    "clamp",
    None,
    "largest entry of the tangent in absolute value; None for any",
    "None or a positive number",
    optional(between(0.0, INFINITY, open_low=True)),
)
COSINE = Option(
    "cosine",
    0.0,
    "weight of one minus the cosine of both velocities, beside their mean squared difference on the diagonal",
    "a number, at least 0",
    between(0.0, INFINITY),
)
TRANSITION = Option(
    "transition",
    0.5,
    "the time from which on the map is the teacher's",
    "a time in (0, 1)",
    between(0.0, 1.0, open_low=True, open_high=True),
)


def anchor(k: TermPoint) -> Differences:
    r"""$v_{t,t}(I_t)$ against $b_t$, and with the factor of `cosine` their directions."""
    (left, right, *_) = tangent(k)["diagonal"]
    found = {"diagonal": Difference(left, right, weighted=False)}
    if k.options.cosine:
        channels = left.shape[1] if left.ndim > 1 else 1  # 1 - cos is half the square of the difference of unit vectors
        found["cosine"] = Difference(_unit(left), _unit(right), k.options.cosine * channels / 2, weighted=False)
    return found


def _unit(v: Tensor) -> Tensor:
    """The directions at each place: of the vectors along the first dimension of the event."""
    return torch.nn.functional.normalize(v, dim=1) if v.ndim > 1 else torch.sign(v)


def relaxed_eulerian(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $v_{s,t}(x)-(1-s^p)\,[v_{s,t}(x)-b_s(x)-(t-s)(\partial_s+b_s\cdot\nabla)v_{s,t}(x)]$."""
    (left, right, *_) = eulerian_velocity(k)["eulerian"]
    with torch.set_grad_enabled(records(not k.frozen)):
        held = left.detach() if k.frozen else left
        off = held - right
        if k.options.clamp is not None:
            off = off.clamp(-k.options.clamp, k.options.clamp)
        right = held - (per_event(1 - k.s**k.options.relaxation, off) * off).to(off.dtype)
    return {"eulerian": Difference(left, right, (0.5 * math.pi * k.s).cos().to(left.dtype))}


def until(s: Tensor, u: Tensor, transition: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    r"""The rungs $(s,u)$ with $s<\tau$; later ones are moved to $s=u=\tau$. The end is $t=1$."""
    at = torch.zeros_like(s) + transition
    return torch.minimum(s, at), torch.where(s < at, u, at), torch.ones_like(s)


def truncated(k: TermPoint) -> Differences:
    r"""$X_{s,1}(x)$, $s\le\tau$, against $X_{u,1}(I_u)$ if $u<\tau$, else $X^1_{u,1}(I_u)$ of the teacher."""
    assert isinstance(k.teacher, FlowMap)
    y, before = advanced(k), per_event(k.middle < k.options.transition, k.x)
    with torch.no_grad():
        first = k.teacher(k.middle, k.t, y)
    with torch.set_grad_enabled(records(not k.frozen)):
        end = torch.where(before, k.target(k.middle, k.t, y), first)
    return {"consistency": Difference(k.X(k.s, k.t, k.x), end)}


facm = row(
    "facm",
    Term(residual=anchor, velocity=TEACHER_OR_CONDITIONAL, law=None, middle=on_diagonal, share="eta"),
    Term(
        residual=relaxed_eulerian,
        velocity=TEACHER_OR_CONDITIONAL,
        stop_gradient=True,
        constant="v - (1 - s^p) (v - b_s - (1-s) D_s v)",
        law=EndpointFixed(),
        share="rest",
    ),
    teacher="optional field",
    options=(ETA(0.5), RELAXATION, CLAMP, COSINE, STOP_GRADIENT, DERIVATIVES),
    paper={"cosine": 1.0, "clamp": 1.0, "norm": MeanSquared(), "p": 0.5},
    lacking="both terms on every sample; a second time beyond 1 for networks of one time; its law of the times where "
    "the interpolant is not trigonometric",
    source="Peng et al. 2507.03738 and its code",
    summary=r"Flow-anchored consistency models: the Eulerian semigradient at $t=1$, relaxed by $1-s^p$ and weighed by "
    r"$\cos\tfrac\pi2s$, beside flow matching on the diagonal, which keeps the velocity that the tangent follows; with "
    r"a teacher both follow it. The clock is the paper's. It takes both terms on every sample, and tells a network of "
    r"one time the diagonal as $2-t$; `p`, `c` and `weight` reach the second term only. Its `clamp` and `cosine` move "
    r"the minimizer where there is no teacher. Its times are $1-\tfrac2\pi\arctan e^z$, those of `LogNoise(-0.8, 1.6)` "
    r"on the trigonometric interpolant, and it guides at `guidance_interval=(0.125, 1.0)`.",
)

tcm = row(
    "tcm",
    Term(
        residual=truncated,
        velocity=CONDITIONAL,
        stop_gradient=True,
        constant="X_u1(I_u), of the teacher from tau on",
        law=Shrinking(Uniform(0.0, 0.55)),
        middle=until,
        fraction="transition",
        guided=False,
    ),
    teacher="map",
    options=(TRANSITION, STOP_GRADIENT),
    paper={"p": 0.5, "c": 1e-8},
    lacking="the division by the step in the noise level; its transition, 1/3 on the linear interpolant, and its law "
    "of the times; the preconditioning of its network, a setting of the run",
    source="Lee et al. 2410.14895, after the code of NVlabs/FastGen",
    summary=r"Truncated consistency models: consistency training from times before $\tau$ (`transition`) only, "
    r"towards the map of a first stage, the teacher, from $\tau$ on; starts that the law draws later are moved to "
    r"$\tau$, where the two stages must agree, by default one in eleven, which is the weight of the paper's boundary. "
    r"`maps.StagedMap` is the map of both stages. The paper's time is the noise level, and its $t'=1$ with data of "
    r"deviation 0.5 is $\alpha_\tau/\beta_\tau=2$; its boundary takes the rung after $\tau$, whose limit is ours, and "
    r"it divides by the step in the noise level, which is left out.",
)
