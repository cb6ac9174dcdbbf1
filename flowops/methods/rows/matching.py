r"""Rows that regress on the conditional velocity $\dot I_t$: they need no teacher."""

from flowops.methods.registry import row
from flowops.methods.sides import contrastive, direct, tangent
from flowops.methods.sources import CONDITIONAL
from flowops.methods.term import Term, diagonal
from flowops.times import Diagonal, FullSquare

fm = row(
    "fm",
    Term(tangent, CONDITIONAL, law=Diagonal(), middle=diagonal),
    source="Lipman et al. 2210.02747; Albergo, Boffi, Vanden-Eijnden 2303.08797; 2505.18825 (3)",
    summary=r"Flow matching, $|v_{t,t}(I_t)-\dot I_t|^2$; its minimizer is $b_t$, its minimum the conditional "
    r"variance.",
)

fmm = row(
    "fmm",
    Term(direct, CONDITIONAL, law=FullSquare()),
    source="Boffi, Albergo, Vanden-Eijnden 2406.07507, Prop. 3.11",
    summary=r"Flow map matching without a teacher: $|\partial_tX_{s,t}(X_{t,s}(I_t))-\dot I_t|^2$ and "
    r"$|X_{s,t}(X_{t,s}(I_t))-I_t|^2$ for every order of the times. No stop-gradient, and none is needed.",
)

reflow = row(
    "reflow",
    Term(tangent, CONDITIONAL, law=Diagonal(), middle=diagonal, pairs="teacher flow"),
    teacher="field or map",
    source="Liu, Gong, Liu 2209.03003",
    summary=r"Flow matching on the coupling $(x_0,\Phi_{0,1}(x_0))$ of the teacher's flow; $x_1$ is ignored. A data "
    r"set of pairs is cheaper: `couplings.Paired` with `fm`.",
)

contrastive_fm = row(
    "contrastive-fm",
    Term(contrastive, CONDITIONAL, law=Diagonal(), middle=diagonal),
    source="Stoica et al. 2506.05350",
    summary=r"Flow matching minus $\lambda$ times the squared distance to the velocity of another sample (the batch "
    r"rolled by one). Its minimizer is $(b_t-\lambda\,\mathbb E\dot I_t)/(1-\lambda)$, not $b_t$: "
    r"`methods.uncontrasted` undoes it.",
    lam=0.05,
)
