r"""Rows in the average velocity along $\dot I_s$, or along the map's own velocity.

MeanFlow's $u(z,r,t)$ is our $-v_{s,t}$: its clock has the data at 0 and the noise at 1, $s=1-t_{MF}$, $t=1-r_{MF}$, so
that velocities change their sign.
"""

from dataclasses import replace
from typing import Any

import torch

from flowops import residuals
from flowops._arguments import per_event
from flowops._derivatives import records
from flowops.fields import VelocityField
from flowops.methods.annealing import Sigmoid, as_annealing
from flowops.methods.compared import eulerian_velocity, mean_velocity
from flowops.methods.declare import preset, replaced, row
from flowops.methods.options import (
    AUXILIARY,
    DERIVATIVES,
    ETA,
    MIX,
    NORMALIZE,
    STOP_GRADIENT,
    WARMUP,
    Option,
    among,
    anything,
    between,
    optional,
)
from flowops.methods.point import (
    CONDITIONAL,
    OWN,
    TEACHER_OR_OWN,
    Difference,
    Differences,
    TermPoint,
    VelocitySource,
)
from flowops.methods.rows.distillation import ayf_emd
from flowops.methods.rows.matching import FLOW_MATCHING_PART
from flowops.methods.term import Term
from flowops.times import LogitNormal, UpperTriangle, ahead

ALPHA = Option(
    "alpha",
    None,
    "step of alpha-flow as a fraction of t - s; None for its annealing",
    "None or a number in [0, 1]",
    optional(between(0.0, 1.0)),
)
ANNEAL = Option(
    "anneal",
    Sigmoid(),
    "how alpha falls with the steps of the training: Sigmoid(start, end) from 1 to 0, or two numbers of steps for it; "
    "exponential, or Exponential(start, end, first, floor)",
    "an annealing",
    anything,
    convert=as_annealing,
)
TANGENT = Option(
    "tangent",
    1.0,
    "share of the conditional velocity in the tangent, the rest of which is the map's own v_ss: 1 is MeanFlow, 0 "
    "improved MeanFlow",
    "a number in [0, 1]",
    between(0.0, 1.0),
)
FOLLOW = Option(
    "follow",
    "conditional",
    '"conditional" or "own": the velocity that is followed; along the own one alpha = 1 trains nothing',
    '"conditional" or "own"',
    among("conditional", "own"),
)
MEAN = (STOP_GRADIENT, NORMALIZE, ETA(0.75), DERIVATIVES)
PAPER = {"law": UpperTriangle(LogitNormal(0.4, 1.0)), "p": 1.0}
FLOW_MATCHING_AT_STARTS = replace(FLOW_MATCHING_PART, law=None)  # its times are the start times of the rest


def _followed(k: TermPoint) -> VelocityField:
    return (OWN if k.options.follow == "own" else CONDITIONAL).field(k)


FOLLOWED = VelocitySource("conditional, or own", _followed)


def trapezoid_rule(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $\tfrac12(b_s+b_t(X_{s,t}))+\tfrac{t-s}2(\partial_s+b_s\cdot\nabla-\partial_t)v_{s,t}$."""
    left, right = residuals.trapezoid_velocity(k.X, k.b, k.s, k.t, k.x, parts=True, frozen=k.frozen)
    return {"trapezoid": Difference(left, right)}


def alpha_step(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $\alpha w+(1-\alpha)v_{u,t}(x+(u-s)w)$, $w$ the velocity followed."""
    if k.alpha is None:
        return eulerian_velocity(k)
    with torch.set_grad_enabled(records(not k.frozen)):
        own = k.options.follow == "own"
        w = k.target.average_velocity(k.s, k.middle, k.x) if own else k.b(k.s, k.x)
        y = (k.x + per_event(k.middle - k.s, k.x) * w).to(k.x.dtype)
        right = torch.lerp(k.target.average_velocity(k.middle, k.t, y), w, k.alpha.to(w.dtype))
    left = k.X.average_velocity(k.s, k.t, k.x)  # their difference is O(alpha): scaled, norms and weights see its limit
    return {"eulerian": Difference(left / k.alpha, right / k.alpha, k.alpha)}


def alpha_at(o: Any, step: int | None) -> float:
    r"""$\alpha$ of `alpha-flow` at a step: the option, or the annealing."""
    return o.anneal.at(step) if o.alpha is None else o.alpha


meanflow = preset(
    "meanflow",
    ayf_emd,
    "along the conditional velocity, with flow matching on a part eta",
    FLOW_MATCHING_AT_STARTS,
    replaced(
        ayf_emd,
        residual=mean_velocity,
        velocity=CONDITIONAL,
        constant="I'_s + (t-s)(d_s v + grad v I'_s)",
        share="rest",
    ),
    teacher="",
    options=(TANGENT, *MEAN, MIX, AUXILIARY, WARMUP),
    paper=PAPER,
    lacking="",
    source="Geng et al. 2505.13447 (10), (11), (22); 2505.18825 (42)",
    summary=r"MeanFlow: $|v_{s,t}(I_s)-\mathrm{sg}(\dot I_s+(t-s)(\partial_sv+\nabla v\,\dot I_s))|^2$, $s=t$ on three "
    r"quarters of the batch; the paper adds an adaptive weight and logit-normal times. With labels its $\omega,\kappa$ "
    r"are `mix`$=\kappa$ and `guidance`$=\omega/(1-\kappa)$. With `tangent` $=\beta$ the tangent is "
    r"$\beta\dot I_s+(1-\beta)v_{s,s}$, after the abstract of 2605.09235, which finds $\beta=0.94$ best.",
)

imf = preset(
    "imf",
    meanflow,
    "tangent=0.0",
    FLOW_MATCHING_AT_STARTS,
    replaced(meanflow, constant="(t-s)(d_s v + grad v v_ss)"),
    options=(TANGENT(0.0), *MEAN, MIX, AUXILIARY),
    paper=PAPER | {"eta": 0.5, "c": 0.01, "auxiliary": True},
    lacking="a head of eight of its layers, told both times and computed in the pass of the map",
    source="Geng et al. 2512.02012 and its code",
    summary=r"Improved MeanFlow, a regression on the instantaneous velocity: "
    r"$|v_{s,t}(I_s)-(t-s)\,\mathrm{sg}(\partial_sv+\nabla v\,v_{s,s}(I_s))-\dot I_s|^2$. With `auxiliary` a second "
    r"output of the network takes the place of $v_{s,s}$, learned by flow matching with the weight of the rest. With "
    r"labels it guides by `guidance=PowerLaw(1.0, 8.0, 1.0), guidance_interval=RandomInterval(0.5), mix=unit`, its "
    r"$\dot I_s+(1-1/w)(v(c)-v(\varnothing))$; its diagonal is told all times for an interval, ours the one drawn.",
)

trapezoid = row(
    "trapezoid",
    FLOW_MATCHING_PART,
    Term(
        residual=trapezoid_rule,
        velocity=TEACHER_OR_OWN,
        stop_gradient=True,
        constant="(b_s + b_t(X_st)) / 2 + (t-s) (D_s v - d_t v) / 2",
        share="rest",
    ),
    teacher="optional field",
    options=MEAN,
    paper={"eta": 0.0},
    lacking="",
    source="Zhu, A second-order MeanFlow (note, 2025)",
    summary=r"The mean of the Eulerian and the Lagrangian equation, each for $v_{s,t}$: the two end velocities and a "
    r"correction, $|v_{s,t}(I_s)-\mathrm{sg}(\tfrac12(b_s+b_t(X_{s,t}))+\tfrac{t-s}2(D_sv-\partial_tv))|^2$, along the "
    r"teacher if there is one, else along the map's own field, which flow matching on the diagonal teaches. The note "
    r"distils a teacher and has the data at 0: its $t<s$ are our $s<t$ as they stand.",
)

alpha_flow = row(
    "alpha-flow",
    FLOW_MATCHING_AT_STARTS,
    Term(
        residual=alpha_step,
        velocity=FOLLOWED,
        stop_gradient=True,
        constant="a w + (1-a) v_ut(I_s + (u-s) w)",
        middle=ahead,
        fraction="alpha",
        share="rest",
    ),
    options=(ALPHA, ANNEAL, FOLLOW, *MEAN, MIX),
    paper=PAPER,
    lacking=r"a constant of the adaptive weight that stays as $\alpha$ falls; in its released runs half of the batch "
    "on the diagonal, squares averaged over the event, and with guidance a target that is clipped at 4",
    alpha=alpha_at,
    source="Zhang et al. 2510.20771",
    summary=r"$\alpha$-Flow: $\alpha^{-1}|v_{s,t}(I_s)-\mathrm{sg}(\alpha w+(1-\alpha)v_{u,t}(I_s+(u-s)w))|^2$ with "
    r"$u=\alpha t+(1-\alpha)s$ and $w=\dot I_s$ or the map's own $v_{s,u}$; $\alpha$ falls from 1 (trajectory flow "
    r"matching) to 0 (MeanFlow). With $p=1$ the whole weight of $|\Delta|^2$, the squared difference above, is "
    r"$\alpha/(|\Delta|^2+\alpha^2c)$, of which MeanFlow's is the limit; the paper prints $\alpha/(|\Delta|^2+c)$. "
    r"SoFlow (2512.15657) is this row along $\dot I_s$: its squared quotient with the weight $1/\alpha$, its released "
    r"code without it; its recipe has the `anneal` exponential.",
)
