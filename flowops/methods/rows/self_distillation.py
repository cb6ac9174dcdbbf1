r"""Self-distillation: flow matching on the diagonal, and off it the map's own field in place of a teacher."""

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._derivatives import records
from flowops.methods.compared import (
    eulerian,
    eulerian_velocity,
    lagrangian,
    lagrangian_velocity,
    second_share,
    semigroup,
    semigroup_velocity,
)
from flowops.methods.declare import preset, replaced, row
from flowops.methods.options import (
    DERIVATIVES,
    DROPOUT,
    EMA_TEACHER,
    ETA,
    FINEST,
    GUIDES,
    INFINITY,
    NORMALIZE,
    START,
    STOP_GRADIENT,
    Option,
    between,
    optional,
)
from flowops.methods.point import OWN, Difference, Differences, TermPoint
from flowops.methods.rows.matching import FLOW_MATCHING_PART
from flowops.methods.term import Term
from flowops.times import Dyadic, Grid, behind

GAMMA = Option(
    "gamma",
    None,
    "position of the time between s and t; None for a uniform one",
    "None or a fraction in [0, 1]",
    optional(between(0.0, 1.0)),
)
CLIP = Option(
    "clip",
    None,
    "largest entry in absolute value of the state between and of the constant side; None for any",
    "None or a positive number",
    optional(between(0.0, INFINITY, open_low=True)),
)
LEARNED = {"weight": "learned", "dropout": "diagonal"}
SELF = (STOP_GRADIENT, NORMALIZE, ETA(0.75), START, EMA_TEACHER, DROPOUT)


def shortcut_step(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $\tfrac12(v_{s,u}(x)+v_{u,t}(X_{s,u}(x)))$, at the finest steps the diagonal for both."""
    finest, clip = k.options.finest, k.options.clip
    if finest is None and clip is None:
        return semigroup_velocity(k)

    def velocity(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        v = k.target.average_velocity(s, t, x)
        return v if finest is None else torch.where(per_event(k.t - k.s <= finest, x), k.b(s, x), v)

    def clipped(value: Tensor) -> Tensor:
        return value if clip is None else value.clamp(-clip, clip)

    with torch.set_grad_enabled(records(not k.frozen)):
        first = velocity(k.s, k.middle, k.x)
        near = clipped((k.x + per_event(k.middle - k.s, k.x) * first).to(k.x.dtype))
        second = velocity(k.middle, k.t, near)
        right = clipped(torch.lerp(first, second, per_event(second_share(k), first).to(first.dtype)))
    return {"semigroup": Difference(k.X.average_velocity(k.s, k.t, k.x), right)}


lsd = row(
    "lsd",
    forms={
        "map": (
            FLOW_MATCHING_PART,
            Term(residual=lagrangian, velocity=OWN, stop_gradient=True, constant="v_tt(X_st)", share="rest"),
        ),
        "velocity": (
            FLOW_MATCHING_PART,
            Term(
                residual=lagrangian_velocity,
                velocity=OWN,
                stop_gradient=True,
                constant="v_tt(X_st) - (t-s) d_t v",
                share="rest",
            ),
        ),
    },
    options=(*SELF, GUIDES, DERIVATIVES),
    paper=LEARNED,
    lacking="",
    source="2505.18825 (13), (20), (94), Alg. 2, F.5 (100)",
    summary=r"Lagrangian self-distillation: $|\partial_tX_{s,t}(I_s)-v_{t,t}(X_{s,t}(I_s))|^2$. The two terms weigh "
    r"$\eta:1-\eta$, as under the law (20) and in the authors' code; Algs. 2-4 print $1:1$, `balance=terms`.",
)

esd = row(
    "esd",
    forms={
        "map": (
            FLOW_MATCHING_PART,
            Term(residual=eulerian, velocity=OWN, stop_gradient=True, constant="grad X v_ss", share="rest"),
        ),
        "velocity": (
            FLOW_MATCHING_PART,
            Term(
                residual=eulerian_velocity,
                velocity=OWN,
                stop_gradient=True,
                constant="v_ss + (t-s) D_s v",
                share="rest",
            ),
        ),
    },
    options=(*SELF, GUIDES, DERIVATIVES),
    paper=LEARNED,
    lacking="",
    source="2505.18825 (14), (20), (94), Alg. 3, F.5 (101)",
    summary=r"Eulerian self-distillation: $|\partial_sX_{s,t}(I_s)+\nabla X_{s,t}(I_s)\,v_{s,s}(I_s)|^2$.",
)

psd_u = row(
    "psd-u",
    forms={
        "velocity": (
            FLOW_MATCHING_PART,
            Term(
                residual=semigroup_velocity,
                stop_gradient=True,
                constant="(1-g) v_su + g v_ut(X_su)",
                middle=behind,
                fraction="gamma",
                share="rest",
            ),
        ),
        "map": (
            FLOW_MATCHING_PART,
            Term(
                residual=semigroup,
                stop_gradient=True,
                constant="X_ut(X_su)",
                middle=behind,
                fraction="gamma",
                share="rest",
            ),
        ),
    },
    options=(GAMMA, *SELF),
    paper=LEARNED,
    lacking="",
    source="2505.18825 (15), (21), (22), Alg. 4",
    summary=r"Progressive self-distillation with $u=\gamma s+(1-\gamma)t$, $\gamma$ uniform: $v_{s,t}$ against "
    r"$(1-\gamma)v_{s,u}+\gamma v_{u,t}(X_{s,u})$.",
)

psd_m = preset(
    "psd-m",
    psd_u,
    "gamma=0.5",
    options=(GAMMA(0.5), *SELF),
    paper=LEARNED,
    lacking="",
    source="2505.18825 (15), (22), Alg. 4",
    summary=r"Progressive self-distillation with the midpoint, $\gamma=\tfrac12$.",
)

split_meanflow = preset(
    "split-meanflow",
    psd_u,
    "form=velocity",
    FLOW_MATCHING_PART,
    replaced(psd_u, form="velocity"),
    options=(GAMMA, *SELF),
    lacking="its law of the times and its weights: of the paper the abstract and the identity were read, and no code "
    "of its authors is public",
    source="Guo et al. 2507.16884",
    summary=r"SplitMeanFlow: the splitting of an interval, $(t-s)\,v_{s,t}=(u-s)\,v_{s,u}+(t-u)\,v_{u,t}$, with the "
    r"paper's $\lambda$ our $\gamma$.",
)

shortcut = preset(
    "shortcut",
    psd_m,
    "law=Dyadic(7)",
    FLOW_MATCHING_PART,
    replaced(
        psd_m,
        form="velocity",
        residual=shortcut_step,
        velocity=OWN,
        constant="(v_su + v_ut(X_su)) / 2",
        law=Dyadic(7),
    ),
    options=(GAMMA(0.5), ETA(0.75), STOP_GRADIENT, EMA_TEACHER, GUIDES, FINEST, CLIP),
    paper={"ema_teacher": True, "diagonal": Grid(128), "finest": 1 / 64, "clip": 4.0},
    lacking="labels that are dropped on the diagonal alone",
    source="Frans et al. 2410.12557, Alg. 1, and its code; 2505.18825 (43)",
    summary=r"Shortcut models: `psd-m` on dyadic steps, a quarter of the batch bootstrapped. The paper's network of "
    r"$(x_t,t,d)$ is $v_{t,t+d}$; that of its smallest $d$ is the diagonal, of which the finest of its steps make two. "
    r"With labels these are guided, `guidance=1.5, guides=own`: the map is told no scale, it has none on the diagonal.",
)
