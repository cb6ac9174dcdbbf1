r"""Rows with a finite step towards a teacher's trajectory: their limits are the Eulerian and Lagrangian rows."""

from flowops.methods.options import FROZEN
from flowops.methods.registry import row
from flowops.methods.sides import consistency, discrete_lagrangian, tangent, trajectory_consistency
from flowops.methods.sources import CONDITIONAL, TEACHER, TEACHER_OR_OWN
from flowops.methods.term import Term, backward_step, diagonal, forward_step
from flowops.times import Diagonal

discrete_emd = row(
    "discrete-emd",
    Term(consistency, TEACHER, "X_ut(x_u)", middle=forward_step),
    teacher="field",
    epsilon=0.01,
    solver="euler",
    **FROZEN,
    source="Flow Map Learning: a unified framework for fast generation (note)",
    summary=r"$X_{s,t}(I_s)$ against $X_{u,t}$ at one solver step from $I_s$ to $u=s+\varepsilon(t-s)$. The note's map "
    r"runs from $t$ down to $s$: its $t'=t+\varepsilon(s-t)$.",
)

discrete_lmd = row(
    "discrete-lmd",
    Term(discrete_lagrangian, TEACHER, "X_su + (t-u) b_u(X_su)", middle=backward_step),
    teacher="field",
    epsilon=0.01,
    **FROZEN,
    source="Flow Map Learning: a unified framework for fast generation (note)",
    summary=r"$X_{s,t}(I_s)$ against an Euler step from $X_{s,u}(I_s)$ at $u=t+\varepsilon(s-t)$ to $t$. The note's "
    r"$s'=s+\varepsilon(t-s)$ in its clock.",
)

ctm = row(
    "ctm",
    Term(tangent, CONDITIONAL, law=Diagonal(), middle=diagonal, share="eta"),
    Term(trajectory_consistency, TEACHER_OR_OWN, "X_t1(X_ut(x_u)), outer map", middle=forward_step, share="rest"),
    teacher="optional field",
    eta=0.5,
    epsilon=None,
    solver="heun",
    stop_gradient=True,
    source="Kim et al. 2310.02279",
    summary=r"Consistency trajectory models without the adversary: $\bar X_{t,1}(X_{s,t}(I_s))$ against "
    r"$\bar X_{t,1}(X_{u,t}(y))$ with $y$ one solver step of the teacher, or of the map's own field, from $I_s$ to "
    r"$u\in(s,t)$; and flow matching on the diagonal. The paper's $G(x,t,s)$ runs from $t$ down to $s$.",
)
