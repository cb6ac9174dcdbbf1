r"""Consistency models: maps to the end time, $X_{s,1}$. The papers' clocks have the data at 0 and the noise at $T$."""

import math
from dataclasses import replace

import torch

from flowops import residuals
from flowops._arguments import per_event
from flowops._derivatives import records
from flowops.methods.compared import average_velocity_sides, consistency
from flowops.methods.declare import preset, replaced, row
from flowops.methods.norms import PseudoHuber
from flowops.methods.options import DERIVATIVES, EMA_TEACHER, NORMALIZE, ONE_MASK, SOLVER, STOP_GRADIENT, WARMUP
from flowops.methods.point import CONDITIONAL, TEACHER_OR_CONDITIONAL, Difference, Differences, TermPoint
from flowops.methods.rows.distillation import ayf_emd
from flowops.methods.rows.finite_steps import discrete_emd
from flowops.methods.term import Term
from flowops.methods.weights import InverseStep
from flowops.times import Doubling, EndpointFixed, Karras, Ladder, LogNoise, Shrinking, SquareRoot, to_end

QUARTER = math.pi / 2  # TrigFlow's time at the noise, where ours is 0


def trigflow(k: TermPoint) -> Differences:
    r"""$F_s(x)$ of $X_{s,t}(x)=\beta_sx-\alpha_sF_s(x)$ against $F_s(x)-\tfrac2\pi\beta_sD_sX_{s,t}(x)$."""
    I, x = k.interpolant, k.x
    alpha, beta, length = (per_event(value, x) for value in (I.alpha(k.s), I.beta(k.s), k.t - k.s))
    inverse = torch.where(alpha == 0, 0, 1 / torch.where(alpha == 0, 1, alpha))  # nothing is left to learn there
    left, right = average_velocity_sides(k, residuals.eulerian_velocity, k.b, k.s, k.t, x)
    network = (inverse * ((beta - 1) * x - length * left)).to(x.dtype)
    with torch.set_grad_enabled(records(not k.frozen)):
        tangent = beta / QUARTER * (left - right)
        if k.warmup is not None:
            tangent = torch.lerp(-(beta**2) * (network + k.b(k.s, x) / QUARTER), tangent, k.warmup.to(tangent.dtype))
        held = network + tangent.to(x.dtype)
    return {"eulerian": Difference(network, held)}


cd = preset(
    "cd",
    discrete_emd,
    "t = 1, u the next rung of a ladder, solver=heun",
    replaced(discrete_emd, constant="X_u1(x_u)", law=Ladder(18), middle=to_end, fraction=""),
    options=(SOLVER("heun"), STOP_GRADIENT, EMA_TEACHER),
    paper={"law": Ladder(18, spacing=Karras()), "norm": "l1", "ema_teacher": True},
    lacking="the preconditioning of its network and the start from the teacher, which are settings of the run",
    source="Song et al. 2303.01469, Alg. 2",
    summary=r"Consistency distillation: $X_{s,1}(I_s)$ against $X_{u,1}$ at one solver step of the teacher from $I_s$ "
    r"to the next rung $u$. The paper's $t_{n+1}>t_n$ are our $s<u$; of its metrics the best is LPIPS, "
    r'`norm="lpips"`.',
)

ct = row(
    "ct",
    Term(
        residual=consistency,
        velocity=CONDITIONAL,
        stop_gradient=True,
        constant="X_u1(I_u)",
        law=Ladder(18),
        middle=to_end,
        guided=False,
    ),
    options=(STOP_GRADIENT, EMA_TEACHER, ONE_MASK),
    paper={"law": Ladder(SquareRoot(), Karras()), "norm": "l1", "ema_teacher": True, "decay": 0.9},
    lacking="the preconditioning of its network, a setting of the run",
    source="Song et al. 2303.01469, Alg. 3",
    summary=r"Consistency training: $X_{s,1}(I_s)$ against $X_{u,1}(I_u)$ with the same $x_0,x_1$. The decay of its "
    r"average follows the ladder, $\mu(k)=\exp(2\log0.9/N(k))$; of the paper's metrics its best is LPIPS, "
    r'`norm="lpips"`.',
)

ict = preset(
    "ict",
    ct,
    "law=Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0)), no average",
    replaced(ct, law=Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0))),
    options=(STOP_GRADIENT, ONE_MASK),
    paper={"norm": PseudoHuber(), "weight": InverseStep(80.0), "one_mask": True},
    lacking="the dropout and the preconditioning of its network, which are settings of the run",
    source="Song, Dhariwal 2310.14189, Table 1",
    summary=r"Improved consistency training: a ladder that doubles, noise levels drawn log-normally, the same map on "
    r"both sides; the paper adds a pseudo-Huber norm and the weight $1/(\sigma_s-\sigma_u)$.",
)

ect = preset(
    "ect",
    ct,
    "law=Shrinking(), no average",
    replaced(ct, law=Shrinking()),
    options=(STOP_GRADIENT, ONE_MASK),
    paper={"norm": PseudoHuber(1e-8), "weight": InverseStep(), "one_mask": True},
    lacking="the start from a diffusion model, and the dropout of its network: both are settings of the run",
    source="Geng et al. 2406.14548",
    summary=r"Easy consistency tuning: consistency training whose step in noise level shrinks from all of it (a "
    r"diffusion model) to nothing. Norm and weight of the paper, $1/(\sigma_s-\sigma_u)$, are those of its code at "
    r"$c=0$.",
)

TO_THE_DATA = replaced(ayf_emd, velocity=TEACHER_OR_CONDITIONAL, constant="b_s + (1-s) D_s v", law=EndpointFixed())
scm = preset(
    "scm",
    ayf_emd,
    "t = 1, along the teacher or the conditional velocity",
    forms={"velocity": (TO_THE_DATA,), "trigflow": (replace(TO_THE_DATA, residual=trigflow, constant="F_s + g_s"),)},
    teacher="optional field",
    options=(STOP_GRADIENT, NORMALIZE, WARMUP, DERIVATIVES),
    paper={
        "form": "trigflow",
        "law": EndpointFixed(LogNoise(-1.0, 1.4)),
        "normalize": 0.1,
        "warmup": 10_000,
        "weight": "learned",
    },
    lacking="the start from a diffusion model, and its network",
    source="Lu, Song 2410.11081, (7), (8)",
    summary=r"Continuous-time consistency models: the Eulerian semigradient at $t=1$ with tangent normalization and "
    r"warm-up, along the teacher if there is one (sCD), else along $\dot I_s$ (sCT). The paper's TrigFlow is the "
    r"`trigonometric` interpolant with $t_{TF}=\tfrac\pi2(1-s)$; `form=trigflow` is its loss in its network $F$, "
    r"$X_{s,1}(x)=\beta_sx-\alpha_sF_s(x)$, with its prior weight, warm-up and normalization: in $v$ it weighs $s$ by "
    r"$(1-s)\beta_s/\alpha_s$ more. Its $e^w/D$ is our learned $e^{-w}$, $w$ less $\log D$ with the other sign.",
)
