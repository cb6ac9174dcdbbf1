r"""Rows that regress on the conditional velocity $\dot I_t$: they need no teacher."""

from flowops import residuals
from flowops.methods.compared import tangent
from flowops.methods.declare import row
from flowops.methods.options import DERIVATIVES, Option, between
from flowops.methods.point import CONDITIONAL, Difference, Differences, TermPoint
from flowops.methods.term import Term
from flowops.times import Diagonal, FullSquare, on_diagonal

LAM = Option(
    "lam", 0.05, "strength of the contrast, in [0, 1)", "a number in [0, 1)", between(0.0, 1.0, open_high=True)
)
FLOW_MATCHING_PART = Term(residual=tangent, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal, share="eta")
"""The part `eta` of the batch on which self-distillation is flow matching."""


def direct(k: TermPoint) -> Differences:
    r"""$\partial_tX_{s,t}(y)$ against $\dot I_t$ and $X_{s,t}(y)$ against $I_t$, at $y=X_{t,s}(I_t)$."""
    It = k.interpolant(k.t, k.x0, k.x1, k.z)
    value, dt = k.X.value_and_dt(k.s, k.t, k.X(k.t, k.s, It))
    return {"lagrangian": Difference(dt, k.b(k.t, It)), "inverse": Difference(value, It)}


def contrastive(k: TermPoint) -> Differences:
    r"""$v_{t,t}(I_t)$ against $\dot I_t$, and with the factor $-\lambda$ against the velocity of another sample."""
    if len(k.x) < 2:
        raise ValueError("`contrastive-fm` must see at least two samples to contrast, got one; enlarge the batch.")
    z = None if k.z is None else k.z.roll(1, 0)
    other = k.interpolant.velocity(k.t, k.x0.roll(1, 0), k.x1.roll(1, 0), z)
    left, right = residuals.tangent(k.X, k.b, k.t, k.x, parts=True)
    return {"diagonal": Difference(left, right), "contrast": Difference(left, other, -k.options.lam)}


fm = row(
    "fm",
    Term(residual=tangent, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal),
    lacking="",
    source="Lipman et al. 2210.02747; Albergo, Boffi, Vanden-Eijnden 2303.08797; 2505.18825 (3)",
    summary=r"Flow matching, $|v_{t,t}(I_t)-\dot I_t|^2$; its minimizer is $b_t$, its minimum the conditional "
    r"variance. Both sides are infinite under `cosine` and `variance_preserving`, where $\int\dot\alpha_t^2dt$ is: "
    r"`weight=InverseSpeed()` makes them finite and keeps the minimizer.",
)

fmm = row(
    "fmm",
    Term(residual=direct, velocity=CONDITIONAL, law=FullSquare()),
    options=(DERIVATIVES,),
    lacking="",
    source="Boffi, Albergo, Vanden-Eijnden 2406.07507, Prop. 3.11",
    summary=r"Flow map matching without a teacher: $|\partial_tX_{s,t}(X_{t,s}(I_t))-\dot I_t|^2$ and "
    r"$|X_{s,t}(X_{t,s}(I_t))-I_t|^2$ for every order of the times. No stop-gradient, and none is needed.",
)

reflow = row(
    "reflow",
    Term(
        residual=tangent,
        velocity=CONDITIONAL,
        law=Diagonal(),
        middle=on_diagonal,
        pairs="teacher flow",
        solves=True,
    ),
    teacher="field or map",
    lacking="",
    source="Liu, Gong, Liu 2209.03003",
    summary=r"Flow matching on the coupling $(x_0,\Phi_{0,1}(x_0))$ of the teacher's flow; $x_1$ is ignored. A data "
    r"set of pairs is cheaper: `data.Pairs.from_flow` with `fm`.",
)

contrastive_fm = row(
    "contrastive-fm",
    Term(residual=contrastive, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal),
    options=(LAM,),
    lacking="",
    source="Stoica et al. 2506.05350",
    summary=r"Flow matching minus $\lambda$ times the squared distance to the velocity of another sample (the batch "
    r"rolled by one). Its minimizer is $(b_t-\lambda\,\mathbb E\dot I_t)/(1-\lambda)$, not $b_t$: "
    r"`fields.uncontrasted` undoes it.",
)
