r"""Consistency models: maps to the end time, $X_{s,1}$. The papers' clocks have the data at 0 and the noise at $T$."""

from flowops.methods.compared import consistency
from flowops.methods.declare import preset, replaced, row
from flowops.methods.norms import PseudoHuber
from flowops.methods.options import EMA_TEACHER, NORMALIZE, SOLVER, STOP_GRADIENT, WARMUP
from flowops.methods.point import CONDITIONAL, TEACHER_OR_CONDITIONAL
from flowops.methods.rows.distillation import ayf_emd
from flowops.methods.rows.finite_steps import discrete_emd
from flowops.methods.term import Term
from flowops.times import Doubling, EndpointFixed, Karras, Ladder, LogNoise, Shrinking, to_end

cd = preset(
    "cd",
    discrete_emd,
    "t = 1, u the next rung of a ladder, solver=heun",
    replaced(discrete_emd, constant="X_u1(x_u)", law=Ladder(18), middle=to_end, fraction=""),
    options=(SOLVER("heun"), STOP_GRADIENT, EMA_TEACHER),
    paper={"law": Ladder(18, spacing=Karras()), "norm": "l1", "ema_teacher": True},
    source="Song et al. 2303.01469, Alg. 2",
    summary=r"Consistency distillation: $X_{s,1}(I_s)$ against $X_{u,1}$ at one solver step of the teacher from $I_s$ "
    r"to the next rung $u$. The paper's $t_{n+1}>t_n$ are our $s<u$.",
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
    options=(STOP_GRADIENT, EMA_TEACHER),
    paper={"law": Ladder(18, spacing=Karras()), "norm": "l1", "ema_teacher": True},
    source="Song et al. 2303.01469, Alg. 3",
    summary=r"Consistency training: $X_{s,1}(I_s)$ against $X_{u,1}(I_u)$ with the same $x_0,x_1$.",
)

ict = preset(
    "ict",
    ct,
    "law=Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0)), no average",
    replaced(ct, law=Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0))),
    options=(STOP_GRADIENT,),
    paper={"norm": PseudoHuber()},
    source="Song, Dhariwal 2310.14189, Table 1",
    summary=r"Improved consistency training: a ladder that doubles, noise levels drawn log-normally, the same map on "
    r"both sides; the paper adds a pseudo-Huber norm and the weight $1/(\sigma_s-\sigma_u)$, which is left out.",
)

ect = preset(
    "ect",
    ct,
    "law=Shrinking(), no average",
    replaced(ct, law=Shrinking()),
    options=(STOP_GRADIENT,),
    paper={"p": 0.5, "c": 1e-8},
    source="Geng et al. 2406.14548",
    summary=r"Easy consistency tuning: consistency training whose step in noise level shrinks from all of it (a "
    r"diffusion model) to nothing.",
)

scm = preset(
    "scm",
    ayf_emd,
    "t = 1, along the teacher or the conditional velocity",
    replaced(ayf_emd, velocity=TEACHER_OR_CONDITIONAL, constant="b_s + (1-s) D_s v", law=EndpointFixed()),
    teacher="optional field",
    options=(STOP_GRADIENT, NORMALIZE, WARMUP),
    paper={"law": EndpointFixed(LogNoise(-1.0, 1.4)), "normalize": 0.1, "warmup": 10_000},
    source="Lu, Song 2410.11081, (7), (8)",
    summary=r"Continuous-time consistency models: the Eulerian semigradient at $t=1$ with tangent normalization and "
    r"warm-up, along the teacher if there is one (sCD), else along $\dot I_s$ (sCT). The paper's TrigFlow is the "
    r"`trigonometric` interpolant with $t_{TF}=\tfrac\pi2(1-s)$ and weighs $s$ by $(1-s)\beta_s/\alpha_s$ more. "
    r"Its warm-up starts from its network, not from $v$, so it differs before its end; with normalization its "
    r"constant is $2\beta_s/\pi$ of ours.",
)
