r"""Rows in the average velocity along $\dot I_s$, or along the map's own velocity.

MeanFlow's $u(z,r,t)$ is our $-v_{s,t}$: its clock has the data at 0 and the noise at 1, $s=1-t_{MF}$, $t=1-r_{MF}$, so
that velocities change their sign.
"""

from flowops.methods.options import FROZEN
from flowops.methods.registry import row
from flowops.methods.sides import alpha_step, eulerian_velocity, improved_eulerian, tangent
from flowops.methods.sources import CONDITIONAL, FOLLOWED, OWN
from flowops.methods.term import Term, diagonal
from flowops.methods.term import alpha_step as alpha_between
from flowops.times import LogitNormal, UpperTriangle

DIAGONAL = Term(
    tangent, CONDITIONAL, law=None, middle=diagonal, share="eta"
)  # at s = t the rows below are flow matching
MEAN = {**FROZEN, "eta": 0.75}
PAPER = {"law": UpperTriangle(LogitNormal(0.4, 1.0)), "p": 1.0, "c": 1e-3}

meanflow = row(
    "meanflow",
    DIAGONAL,
    Term(eulerian_velocity, CONDITIONAL, "I'_s + (t-s)(d_s v + grad v I'_s)", share="rest"),
    **MEAN,
    warmup=0,
    paper=PAPER,
    source="Geng et al. 2505.13447 (10), (11), (22); 2505.18825 (42)",
    summary=r"MeanFlow: $|v_{s,t}(I_s)-\mathrm{sg}(\dot I_s+(t-s)(\partial_sv+\nabla v\,\dot I_s))|^2$, $s=t$ on three "
    r"quarters of the batch; the paper adds an adaptive weight and logit-normal times.",
)

imf = row(
    "imf",
    DIAGONAL,
    Term(improved_eulerian, OWN, "(t-s)(d_s v + grad v v_ss)", share="rest"),
    **MEAN,
    paper=PAPER,
    source="Geng et al. 2512.02012",
    summary=r"Improved MeanFlow, a regression on the instantaneous velocity: "
    r"$|v_{s,t}(I_s)-(t-s)\,\mathrm{sg}(\partial_sv+\nabla v\,v_{s,s}(I_s))-\dot I_s|^2$.",
)

alpha_flow = row(
    "alpha-flow",
    DIAGONAL,
    Term(alpha_step, FOLLOWED, "a w + (1-a) v_ut(I_s + (u-s) w)", middle=alpha_between, share="rest"),
    alpha=None,
    anneal=(0, 100_000),
    follow="conditional",
    **MEAN,
    paper=PAPER,
    source="Zhang et al. 2510.20771",
    summary=r"$\alpha$-Flow: $\alpha^{-1}|v_{s,t}(I_s)-\mathrm{sg}(\alpha w+(1-\alpha)v_{u,t}(I_s+(u-s)w))|^2$ with "
    r"$u=\alpha t+(1-\alpha)s$ and $w=\dot I_s$ or the map's own $v_{s,u}$; $\alpha$ falls from 1 (trajectory flow "
    r"matching) to 0 (MeanFlow).",
)
