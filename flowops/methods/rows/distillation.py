r"""Rows that learn the flow map of a given field $b$, the teacher, or compose the map of a previous round."""

from flowops.methods.options import FROZEN
from flowops.methods.registry import row
from flowops.methods.sides import composed, eulerian, eulerian_velocity, lagrangian, lagrangian_velocity, solution
from flowops.methods.sources import TEACHER
from flowops.methods.term import Term
from flowops.times import Halving

SEMIGRADIENT = {**FROZEN, "warmup": 0, "start": "interpolant"}

lmd = row(
    "lmd",
    forms={
        "map": (Term(lagrangian, TEACHER, "b_t(X_st)  [option]"),),
        "velocity": (Term(lagrangian_velocity, TEACHER, "b_t(X_st) - (t-s) d_t v  [option]"),),
    },
    teacher="field",
    stop_gradient=False,
    normalize=None,
    start="interpolant",
    source="2406.07507; 2505.18825 (26), (27)",
    summary=r"Lagrangian map distillation, $|\partial_tX_{s,t}(I_s)-b_t(X_{s,t}(I_s))|^2$; `stop_gradient=True` "
    r"holds the argument of $b$.",
)

emd = row(
    "emd",
    forms={
        "map": (Term(eulerian, TEACHER, "grad X b  [option]"),),
        "velocity": (Term(eulerian_velocity, TEACHER, "b_s + (t-s) D_s v  [option]"),),
    },
    teacher="field",
    stop_gradient=False,
    normalize=None,
    start="interpolant",
    source="2406.07507; 2505.18825 (28), (29), (38), (39)",
    summary=r"Eulerian map distillation, $|\partial_sX_{s,t}(I_s)+\nabla X_{s,t}(I_s)\,b_s(I_s)|^2$; with "
    r"`stop_gradient=True` $\nabla X\,b$, or in the form of velocities $b_s+(t-s)D_sv$, is a constant.",
)

ayf_emd = row(
    "ayf-emd",
    Term(eulerian_velocity, TEACHER, "b_s + (t-s) D_s v"),
    teacher="field",
    **SEMIGRADIENT,
    paper={"normalize": 0.1, "warmup": 10_000},
    source="Sabour, Fidler, Kreis 2506.14603, Theorem 3.2; 2505.18825 (39)",
    summary=r"The semigradient of the Eulerian loss with tangent normalization and warm-up. The paper's $f(x_t,t,s)$ "
    r"runs from $t$ down to $s$ with the data at 0. An autoguided teacher is `guided(b, b_weak, scale)`.",
)

ayf_lmd = row(
    "ayf-lmd",
    Term(lagrangian_velocity, TEACHER, "b_t(X_st) - (t-s) d_t v"),
    teacher="field",
    **SEMIGRADIENT,
    paper={"normalize": 0.1, "warmup": 10_000},
    source="Sabour, Fidler, Kreis 2506.14603, Theorem 3.3",
    summary=r"The semigradient of the Lagrangian loss: the whole tangent $\partial_tX_{s,t}-b_t(X_{s,t})$ is a "
    r"constant and pulls $v_{s,t}$. Clock and letters as for `ayf-emd`.",
)

pfmm = row(
    "pfmm",
    Term(composed, None, "steps of the previous map"),
    teacher="map",
    K=2,
    source="2406.07507, Alg. 3; 2505.18825 (30), (31)",
    summary=r"Progressive flow map matching, $|X_{s,t}(I_s)-\check X_{t_{K-1},t}\circ\dots\circ\check X_{s,t_1}|^2$ "
    r"with $K$ equal steps of the map $\check X$ of the previous round, the teacher.",
)

pd = row(
    "pd",
    Term(composed, TEACHER, "two teacher steps", law=Halving(10, 50_000)),
    teacher="field or map",
    K=2,
    solver="euler",
    source="Salimans, Ho 2202.00512, Alg. 2",
    summary=r"Progressive distillation: two teacher steps into one on a dyadic ladder whose rounds halve the number of "
    r"steps. The teacher of the first round is a field (each step one of `solver`), later the map of the round before. "
    r"The paper's time runs from the data.",
)

regression = row(
    "regression",
    Term(solution, TEACHER, "the solution"),
    teacher="field or map",
    points=1,
    source="Zheng et al. 2211.13449; Li et al. 2010.08895",
    summary=r"Operator learning: $|X_{s,t}(I_s)-\Phi_{s,t}(I_s)|^2$ against the solution operator, at `points` "
    r"equidistant times up to $t$ (a whole trajectory).",
)
