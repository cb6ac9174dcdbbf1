r"""Self-distillation: flow matching on the diagonal, and off it the map's own field in place of a teacher."""

from flowops.methods.compared import (
    eulerian,
    eulerian_velocity,
    lagrangian,
    lagrangian_velocity,
    semigroup,
    semigroup_velocity,
)
from flowops.methods.declare import preset, replaced, row
from flowops.methods.options import (
    DERIVATIVES,
    EMA_TEACHER,
    ETA,
    GUIDES,
    NORMALIZE,
    START,
    STOP_GRADIENT,
    Option,
    between,
    optional,
)
from flowops.methods.point import OWN
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
LEARNED = {"weight": "learned"}
DROPOUT = "dropout on the diagonal alone, which its code has"
SELF = (STOP_GRADIENT, NORMALIZE, ETA(0.75), START, EMA_TEACHER)

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
    lacking=DROPOUT,
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
    lacking=DROPOUT,
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
    lacking=DROPOUT,
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
    lacking=DROPOUT,
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
    lacking="its law of the times and its weights, which were not read",
    source="Guo et al. 2507.16884",
    summary=r"SplitMeanFlow: the splitting of an interval, $(t-s)\,v_{s,t}=(u-s)\,v_{s,u}+(t-u)\,v_{u,t}$, with the "
    r"paper's $\lambda$ our $\gamma$.",
)

shortcut = preset(
    "shortcut",
    psd_m,
    "law=Dyadic(7)",
    FLOW_MATCHING_PART,
    replaced(psd_m, form="velocity", constant="(v_su + v_ut(X_su)) / 2", law=Dyadic(7)),
    options=(GAMMA(0.5), ETA(0.75), STOP_GRADIENT, EMA_TEACHER),
    paper={"ema_teacher": True, "diagonal": Grid(128)},
    lacking="guidance in the targets of its finest steps, of its models with labels; states and targets clipped at 4",
    source="Frans et al. 2410.12557, Alg. 1; 2505.18825 (43)",
    summary=r"Shortcut models: `psd-m` on dyadic steps, a quarter of the batch bootstrapped. The paper's network of "
    r"$(x_t,t,d)$ is $v_{t,t+d}$.",
)
