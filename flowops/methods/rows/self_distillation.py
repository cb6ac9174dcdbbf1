r"""Self-distillation: flow matching on the diagonal, and off it the map's own field in place of a teacher."""

from flowops.methods.options import FROZEN
from flowops.methods.registry import row
from flowops.methods.sides import (
    eulerian,
    eulerian_velocity,
    lagrangian,
    lagrangian_velocity,
    semigroup,
    semigroup_velocity,
    tangent,
)
from flowops.methods.sources import CONDITIONAL, OWN
from flowops.methods.term import Term, diagonal, split
from flowops.times import Diagonal, Dyadic

SELF = {**FROZEN, "eta": 0.75, "start": "interpolant", "ema_teacher": False}
DIAGONAL = Term(tangent, CONDITIONAL, law=Diagonal(), middle=diagonal, share="eta")

lsd = row(
    "lsd",
    forms={
        "map": (DIAGONAL, Term(lagrangian, OWN, "v_tt(X_st)", share="rest")),
        "velocity": (DIAGONAL, Term(lagrangian_velocity, OWN, "v_tt(X_st) - (t-s) d_t v", share="rest")),
    },
    **SELF,
    source="2505.18825 (13), (20), (94), Alg. 2",
    summary=r"Lagrangian self-distillation: $|\partial_tX_{s,t}(I_s)-v_{t,t}(X_{s,t}(I_s))|^2$.",
)

esd = row(
    "esd",
    forms={
        "map": (DIAGONAL, Term(eulerian, OWN, "grad X v_ss", share="rest")),
        "velocity": (DIAGONAL, Term(eulerian_velocity, OWN, "v_ss + (t-s) D_s v", share="rest")),
    },
    **SELF,
    source="2505.18825 (14), (20), (94), Alg. 3",
    summary=r"Eulerian self-distillation: $|\partial_sX_{s,t}(I_s)+\nabla X_{s,t}(I_s)\,v_{s,s}(I_s)|^2$.",
)

PSD_FORMS = {
    "velocity": (DIAGONAL, Term(semigroup_velocity, None, "(1-g) v_su + g v_ut(X_su)", middle=split, share="rest")),
    "map": (DIAGONAL, Term(semigroup, None, "X_ut(X_su)", middle=split, share="rest")),
}

psd_u = row(
    "psd-u",
    forms=PSD_FORMS,
    gamma=None,
    **SELF,
    source="2505.18825 (15), (21), (22), Alg. 4; Guo et al. 2507.16884 (SplitMeanFlow)",
    summary=r"Progressive self-distillation with $u=\gamma s+(1-\gamma)t$, $\gamma$ uniform: $v_{s,t}$ against "
    r"$(1-\gamma)v_{s,u}+\gamma v_{u,t}(X_{s,u})$.",
)

psd_m = row(
    "psd-m",
    forms=PSD_FORMS,
    gamma=0.5,
    **SELF,
    source="2505.18825 (15), (22), Alg. 4",
    summary=r"Progressive self-distillation with the midpoint, $\gamma=\tfrac12$.",
)

shortcut = row(
    "shortcut",
    DIAGONAL,
    Term(semigroup_velocity, None, "(v_su + v_ut(X_su)) / 2", law=Dyadic(7), middle=split, share="rest"),
    gamma=0.5,
    eta=0.75,
    stop_gradient=True,
    ema_teacher=False,
    paper={"ema_teacher": True},
    source="Frans et al. 2410.12557, Alg. 1; 2505.18825 (43)",
    summary=r"Shortcut models: `psd-m` on dyadic steps, a quarter of the batch bootstrapped. The paper's network of "
    r"$(x_t,t,d)$ is $v_{t,t+d}$.",
)
