r"""Rows with a finite step towards a teacher's trajectory: their limits are the Eulerian and Lagrangian rows."""

import torch

from flowops._arguments import per_event
from flowops._derivatives import records
from flowops.maps import FrozenMap
from flowops.methods.compared import advanced, consistency
from flowops.methods.declare import row
from flowops.methods.options import EMA_TEACHER, ETA, NORMALIZE, SOLVER, STOP_GRADIENT, Option, between, optional
from flowops.methods.point import TEACHER, TEACHER_OR_OWN, Difference, Differences, TermPoint
from flowops.methods.rows.matching import FLOW_MATCHING_PART
from flowops.methods.term import Term
from flowops.methods.weights import Denoising
from flowops.times import Leaps, ahead, behind

EPSILON = Option(
    "epsilon",
    0.01,
    "the step as a fraction of t - s; None for a uniform one",
    "None or a fraction in (0, 1]",
    optional(between(0.0, 1.0, open_low=True)),
)


def discrete_lagrangian(k: TermPoint) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{s,u}(x)+(t-u)\,b_u(X_{s,u}(x))$."""
    with torch.set_grad_enabled(records(not k.frozen)):
        near = k.X(k.s, k.middle, k.x)
        right = near + (per_event(k.t - k.middle, k.x) * k.b(k.middle, near)).to(k.x.dtype)
    return {"lagrangian": Difference(k.X(k.s, k.t, k.x), right)}


def trajectory_consistency(k: TermPoint) -> Differences:
    r"""$\bar X_{t,1}(X_{s,t}(x))$ against $\bar X_{t,1}(X_{u,t}(y))$, $y$ a solver's step from $x$ to time $u$."""
    final, one = FrozenMap(k.target), torch.ones_like(k.t)
    with torch.set_grad_enabled(records(not k.frozen)):
        right = final(k.t, one, k.target(k.middle, k.t, advanced(k)))
    return {"consistency": Difference(final(k.t, one, k.X(k.s, k.t, k.x)), right)}


discrete_emd = row(
    "discrete-emd",
    Term(
        residual=consistency,
        velocity=TEACHER,
        stop_gradient=True,
        constant="X_ut(x_u)",
        middle=ahead,
        fraction="epsilon",
    ),
    teacher="field",
    options=(EPSILON, SOLVER, STOP_GRADIENT, NORMALIZE),
    lacking="",
    source="Flow Map Learning: a unified framework for fast generation (note)",
    summary=r"$X_{s,t}(I_s)$ against $X_{u,t}$ at one solver step from $I_s$ to $u=s+\varepsilon(t-s)$. The note's map "
    r"runs from $t$ down to $s$: its $t'=t+\varepsilon(s-t)$.",
)

discrete_lmd = row(
    "discrete-lmd",
    Term(
        residual=discrete_lagrangian,
        velocity=TEACHER,
        stop_gradient=True,
        constant="X_su + (t-u) b_u(X_su)",
        middle=behind,
        fraction="epsilon",
    ),
    teacher="field",
    options=(EPSILON, STOP_GRADIENT, NORMALIZE),
    lacking="",
    source="Flow Map Learning: a unified framework for fast generation (note)",
    summary=r"$X_{s,t}(I_s)$ against an Euler step from $X_{s,u}(I_s)$ at $u=t+\varepsilon(s-t)$ to $t$. The note's "
    r"$s'=s+\varepsilon(t-s)$ in its clock.",
)

ctm = row(
    "ctm",
    FLOW_MATCHING_PART,
    Term(
        residual=trajectory_consistency,
        velocity=TEACHER_OR_OWN,
        stop_gradient=True,
        constant="X_t1(X_ut(x_u)), outer map",
        middle=ahead,
        fraction="epsilon",
        share="rest",
    ),
    teacher="optional field",
    options=(ETA(0.5), EPSILON(None), SOLVER("heun"), STOP_GRADIENT, EMA_TEACHER),
    paper={"law": Leaps(), "balance": "gradients", "weight": Denoising(), "ema_teacher": True},
    lacking="an adversary; both terms on the whole batch; half of the times of its flow matching uniform on its ladder",
    source="Kim et al. 2310.02279",
    summary=r"Consistency trajectory models without the adversary: $\bar X_{t,1}(X_{s,t}(I_s))$ against "
    r"$\bar X_{t,1}(X_{u,t}(y))$ with $y$ one solver step of the teacher, or of the map's own field, from $I_s$ to "
    r"$u\in(s,t)$; and flow matching on the diagonal. The paper's $G(x,t,s)$ runs from $t$ down to $s$. Its times lie "
    r"on 18 rungs, with a step of the solver for each rung between (`Leaps`), it balances the two gradients of the "
    r'last layer, and it measures images by LPIPS, `norm="lpips"`.',
)
