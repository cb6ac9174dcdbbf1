r"""Rows that compare laws: groups of samples with other groups, and not each sample with its own."""

import torch

from flowops._arguments import per_event
from flowops.methods.compared import consistency
from flowops.methods.declare import row
from flowops.methods.norms import Laplace
from flowops.methods.options import NORM, PARTICLES, STOP_GRADIENT, Option, among
from flowops.methods.point import CONDITIONAL, Difference, Differences, TermPoint
from flowops.methods.rows.finite_steps import EPSILON
from flowops.methods.term import Term
from flowops.methods.weights import ShiftedSNR
from flowops.times import Decrement, UpperTriangle, ahead

NARROWS = Option(
    "narrows",
    False,
    "whether the kernel narrows with the step, by the coefficient of EDM's network of two times: both sides are "
    "divided by |alpha_s beta_t - alpha_t beta_s| / (alpha_s^2 + beta_s^2)^(1/2)",
    "True or False",
    among(True, False),
)


def matched(k: TermPoint) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{u,t}(I_u)$ of the same samples, in groups."""
    (left, right, *_) = consistency(k)["consistency"]
    if k.options.narrows:
        I, s, t = k.interpolant, k.s, k.t
        width = (I.alpha(s) * I.beta(t) - I.alpha(t) * I.beta(s)).abs() / torch.hypot(I.alpha(s), I.beta(s))
        scale = per_event(torch.where(width == 0, 1, width), k.x).to(k.x.dtype)  # no step, and no difference
        left, right = left / scale, right / scale
    return {"consistency": Difference(left, right)}


imm = row(
    "imm",
    Term(
        residual=matched,
        velocity=CONDITIONAL,
        stop_gradient=True,
        constant="X_ut(I_u)",
        law=UpperTriangle(),
        middle=ahead,
        fraction="epsilon",
        guided=False,
    ),
    options=(PARTICLES(4), NORM(Laplace()), EPSILON(0.1), NARROWS, STOP_GRADIENT),
    paper={"law": Decrement(), "narrows": True, "weight": ShiftedSNR()},
    lacking="the preconditioning of its network, a setting of the run",
    source="Zhou, Ermon, Song 2503.07565, its settings as an independent implementation has them; the repository of "
    "its authors has no training code",
    summary=r"Inductive moment matching: half the squared maximum mean discrepancy between the laws of $X_{s,t}(I_s)$ "
    r"and $X_{u,t}(I_u)$, $u=s+\varepsilon(t-s)$, in groups of `particles` samples that share their times. It vanishes "
    r"where the laws agree, which is less than the points: of one particle it is consistency training in the norm "
    r"$1-k$. The paper's clock has the data at 0, its $r<t$ are our $u>s$; its $r(s,t)$ lowers the noise level by a "
    r"constant (`Decrement`), its kernel $k$ narrows with the coefficient of its network (`narrows`), and it weighs "
    r"the noise levels.",
)
