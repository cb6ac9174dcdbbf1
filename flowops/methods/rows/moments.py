r"""Rows that compare laws: groups of samples with other groups, and not each sample with its own."""

from flowops.methods.compared import consistency
from flowops.methods.declare import row
from flowops.methods.norms import Laplace
from flowops.methods.options import NORM, PARTICLES, STOP_GRADIENT
from flowops.methods.point import CONDITIONAL
from flowops.methods.rows.finite_steps import EPSILON
from flowops.methods.term import Term
from flowops.times import UpperTriangle, ahead

imm = row(
    "imm",
    Term(
        residual=consistency,
        velocity=CONDITIONAL,
        stop_gradient=True,
        constant="X_ut(I_u)",
        law=UpperTriangle(),
        middle=ahead,
        fraction="epsilon",
        guided=False,
    ),
    options=(PARTICLES(4), NORM(Laplace()), EPSILON(0.1), STOP_GRADIENT),
    lacking="its law of the noise levels and their weights, its step of a constant noise level, and a kernel that "
    "narrows",
    source="Zhou, Ermon, Song 2503.07565; the repository of its authors has no training code",
    summary=r"Inductive moment matching: half the squared maximum mean discrepancy between the laws of $X_{s,t}(I_s)$ "
    r"and $X_{u,t}(I_u)$, $u=s+\varepsilon(t-s)$, in groups of `particles` samples that share their times. It vanishes "
    r"where the laws agree, which is less than the points: of one particle it is consistency training in the norm "
    r"$1-k$. The paper's clock has the data at 0, its $r<t$ are our $u>s$; its $r(s,t)$ lowers the noise level by a "
    r"constant, its kernel $k$ narrows with the coefficient of its network, and it weighs the noise levels.",
)
