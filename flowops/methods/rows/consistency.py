r"""Consistency models: maps to the end time, $X_{s,1}$. The papers' clocks have the data at 0 and the noise at $T$."""

from flowops.methods.norms import PseudoHuber
from flowops.methods.options import FROZEN
from flowops.methods.registry import row
from flowops.methods.sides import consistency, eulerian_velocity
from flowops.methods.sources import CONDITIONAL, TEACHER, TEACHER_OR_CONDITIONAL
from flowops.methods.term import Term, rung
from flowops.times import Doubling, EndpointFixed, Karras, Ladder, LogNoise, Shrinking

cd = row(
    "cd",
    Term(consistency, TEACHER, "X_u1(x_u)", law=Ladder(18), middle=rung),
    teacher="field",
    solver="heun",
    stop_gradient=True,
    paper={"law": Ladder(18, spacing=Karras()), "norm": "l1"},
    source="Song et al. 2303.01469, Alg. 2",
    summary=r"Consistency distillation: $X_{s,1}(I_s)$ against $X_{u,1}$ at one solver step of the teacher from $I_s$ "
    r"to the next rung $u$. The paper's $t_{n+1}>t_n$ are our $s<u$.",
)

ct = row(
    "ct",
    Term(consistency, CONDITIONAL, "X_u1(I_u)", law=Ladder(18), middle=rung, guided=False),
    stop_gradient=True,
    ema_teacher=False,
    paper={"law": Ladder(18, spacing=Karras()), "norm": "l1", "ema_teacher": True},
    source="Song et al. 2303.01469, Alg. 3",
    summary=r"Consistency training: $X_{s,1}(I_s)$ against $X_{u,1}(I_u)$ with the same $x_0,x_1$.",
)

ict = row(
    "ict",
    Term(
        consistency,
        CONDITIONAL,
        "X_u1(I_u)",
        law=Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0)),
        middle=rung,
        guided=False,
    ),
    stop_gradient=True,
    paper={"norm": PseudoHuber()},
    source="Song, Dhariwal 2310.14189, Table 1",
    summary=r"Improved consistency training: a ladder that doubles, noise levels drawn log-normally, the same map on "
    r"both sides; the paper adds a pseudo-Huber norm and the weight $1/(\sigma_s-\sigma_u)$, which is left out.",
)

ect = row(
    "ect",
    Term(consistency, CONDITIONAL, "X_u1(I_u)", law=Shrinking(), middle=rung, guided=False),
    stop_gradient=True,
    paper={"p": 0.5, "c": 1e-8},
    source="Geng et al. 2406.14548",
    summary=r"Easy consistency tuning: consistency training whose step in noise level shrinks from all of it (a "
    r"diffusion model) to nothing.",
)

scm = row(
    "scm",
    Term(eulerian_velocity, TEACHER_OR_CONDITIONAL, "b_s + (1-s) D_s v", law=EndpointFixed()),
    teacher="optional field",
    **FROZEN,
    warmup=0,
    paper={"law": EndpointFixed(LogNoise(-1.0, 1.4)), "normalize": 0.1, "warmup": 10_000},
    source="Lu, Song 2410.11081, (7), (8)",
    summary=r"Continuous-time consistency models: the Eulerian semigradient at $t=1$ with tangent normalization and "
    r"warm-up, along the teacher if there is one (sCD), else along $\dot I_s$ (sCT). The paper's TrigFlow is the "
    r"`trigonometric` interpolant with $t_{TF}=\tfrac\pi2(1-s)$ and weighs $s$ by $(1-s)\beta_s/\alpha_s$ more. "
    r"Its warm-up starts from its network, not from $v$, so it differs before its end; with normalization its "
    r"constant is $2\beta_s/\pi$ of ours.",
)
