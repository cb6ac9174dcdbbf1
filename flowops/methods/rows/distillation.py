r"""Rows that learn the flow map of a given field $b$, the teacher, or compose the map of a previous round."""

import torch
from torch import Tensor

from flowops.maps import FlowMap
from flowops.methods.compared import eulerian, eulerian_velocity, lagrangian, lagrangian_velocity, one_step
from flowops.methods.declare import preset, replaced, row
from flowops.methods.options import (
    CAP,
    DERIVATIVES,
    NORMALIZE,
    SOLVER,
    SOLVER_OF_STEPS,
    START,
    STEPS,
    STOP_GRADIENT,
    WARMUP,
    Option,
    count,
)
from flowops.methods.point import TEACHER, Difference, Differences, TermPoint, states_along
from flowops.methods.term import Term
from flowops.methods.weights import TruncatedSNR
from flowops.times import EndpointFixed, Halving, Intervals, LogitNormal, Trajectory, Widening

K = Option("K", 2, "steps of the teacher map between s and t", "a number of steps, at least 1", count(1))
POINTS = Option("points", 1, "number of times along the trajectory", "a number of times, at least 1", count(1))
DISTILLATION = (STOP_GRADIENT(False), NORMALIZE, START, DERIVATIVES)
ALIGN = {"law": Intervals(LogitNormal(-0.8, 1.0)), "normalize": 0.1, "warmup": 10_000, "cap": 0.99}
FINE_TUNING = "an adversary in its second stage; a scale of autoguidance that is drawn, where a teacher has one"
SEMIGRADIENT = (STOP_GRADIENT, NORMALIZE, WARMUP, CAP, START, DERIVATIVES)


def composed(k: TermPoint) -> Differences:
    r"""$X_{s,t}(x)$ against $K$ equal steps of the teacher map."""
    with torch.no_grad():
        grid = [torch.lerp(k.s, k.t, i / k.options.K) for i in range(k.options.K + 1)]
        # of a field as teacher, a step of the solver
        steps = k.teacher if isinstance(k.teacher, FlowMap) else one_step(k)
        end = steps.compose(grid, k.x)
    return {"composition": Difference(k.X(k.s, k.t, k.x), end)}


def solution(k: TermPoint) -> Differences:
    r"""$X_{s,t_j}(x)$ against $\Phi_{s,t_j}(x)$ at `points` times up to $t$, averaged."""
    if k.path is not None:
        return every_point(k, k.path)
    n, points = len(k.x), k.options.points
    rows = torch.arange(n, device=k.x.device).repeat(points)
    fraction = torch.arange(1, points + 1, dtype=k.t.dtype, device=k.t.device).repeat_interleave(n) / points
    s, t, x = k.s[rows], torch.lerp(k.s[rows], k.t[rows], fraction), k.x[rows]
    shape = (points, n, *k.x.shape[1:])
    right = k.solution(s, t, x, rows) if k.options.steps is None else trajectory(k)
    left = k.X.subset(rows)(s, t, x) if points > 1 else k.X(s, t, x)
    left, right = (side.reshape(shape).movedim(0, 1) for side in (left, right))
    return {"solution": Difference(left, right, 1 / points)}


def every_point(k: TermPoint, path: Tensor) -> Differences:
    r"""$X_{\tau_j,\tau_k}(x_j)$ against $x_k$ at every point $x_j$ of a solver's trajectory but the last, averaged.

    The end of the point $j$ of $N+1$ lies the part $(t-s)/(1-s)$ of the $N-j$ rungs ahead, at least one.
    """
    n, steps = len(k.x), path.shape[1] - 1
    with torch.no_grad():
        states = torch.stack(states_along(k, path.unbind(1), k.x))
    left_over = 1 - k.s
    part = torch.where(left_over > 0, (k.t - k.s) / torch.where(left_over > 0, left_over, 1), 1)
    starts, rows = torch.arange(steps, device=path.device)[:, None], torch.arange(n, device=path.device)
    ends = starts + (part * (steps - starts)).ceil().long().clamp(min=1)
    s, t = (path[rows, index].flatten() for index in (starts, ends))
    left = k.X.subset(rows.repeat(steps))(s, t, states[:-1].flatten(0, 1)).reshape(states[:-1].shape)
    return {"solution": Difference(left.movedim(0, 1), states[ends, rows].movedim(0, 1), 1 / steps)}


@torch.no_grad()
def trajectory(k: TermPoint) -> Tensor:
    """The states of one trajectory of the solver at the same times, `[points, batch, *event]`."""
    points = k.options.points
    return k.flow.compose([torch.lerp(k.s, k.t, j / points) for j in range(points + 1)], k.x, trajectory=True)[1:]


lmd = row(
    "lmd",
    forms={
        "map": (Term(residual=lagrangian, velocity=TEACHER, stop_gradient=True, constant="b_t(X_st)"),),
        "velocity": (
            Term(
                residual=lagrangian_velocity, velocity=TEACHER, stop_gradient=True, constant="b_t(X_st) - (t-s) d_t v"
            ),
        ),
    },
    teacher="field",
    options=DISTILLATION,
    lacking="",
    source="2406.07507; 2505.18825 (26), (27)",
    summary=r"Lagrangian map distillation, $|\partial_tX_{s,t}(I_s)-b_t(X_{s,t}(I_s))|^2$; `stop_gradient=True` "
    r"holds the argument of $b$.",
)

emd = row(
    "emd",
    forms={
        "map": (Term(residual=eulerian, velocity=TEACHER, stop_gradient=True, constant="grad X b"),),
        "velocity": (
            Term(residual=eulerian_velocity, velocity=TEACHER, stop_gradient=True, constant="b_s + (t-s) D_s v"),
        ),
    },
    teacher="field",
    options=DISTILLATION,
    lacking="",
    source="2406.07507; 2505.18825 (28), (29), (38), (39)",
    summary=r"Eulerian map distillation, $|\partial_sX_{s,t}(I_s)+\nabla X_{s,t}(I_s)\,b_s(I_s)|^2$; with "
    r"`stop_gradient=True` $\nabla X\,b$, or in the form of velocities $b_s+(t-s)D_sv$, is a constant.",
)

ayf_emd = preset(
    "ayf-emd",
    emd,
    "form=velocity, stop_gradient=True",
    replaced(emd, form="velocity"),
    options=SEMIGRADIENT,
    paper=ALIGN,
    lacking=FINE_TUNING,
    source="Sabour, Fidler, Kreis 2506.14603, Theorem 3.2; 2505.18825 (39)",
    summary=r"The semigradient of the Eulerian loss with tangent normalization and warm-up. The paper's $f(x_t,t,s)$ "
    r"runs from $t$ down to $s$ with the data at 0. An autoguided teacher is `guided(b, b_weak, scale)`. The "
    r"numbers of the paper's law, and of its warm-up that stops at 0.99, are those of independent implementations.",
)

ayf_lmd = preset(
    "ayf-lmd",
    lmd,
    "form=velocity, stop_gradient=True",
    replaced(lmd, form="velocity"),
    options=SEMIGRADIENT,
    paper=ALIGN,
    lacking=FINE_TUNING,
    source="Sabour, Fidler, Kreis 2506.14603, Theorem 3.3",
    summary=r"The semigradient of the Lagrangian loss: the whole tangent $\partial_tX_{s,t}-b_t(X_{s,t})$ is a "
    r"constant and pulls $v_{s,t}$. Clock and letters as for `ayf-emd`.",
)

pfmm = row(
    "pfmm",
    Term(residual=composed, stop_gradient=True, constant="steps of the previous map"),
    teacher="map",
    options=(K,),
    paper={"law": Widening()},
    lacking="the lengths of its rounds, of which none is printed; a round is a run, with the one before as teacher",
    source="2406.07507; 2505.18825 B.3 (30), (31)",
    summary=r"Progressive flow map matching, $|X_{s,t}(I_s)-\check X_{t_{K-1},t}\circ\dots\circ\check X_{s,t_1}|^2$ "
    r"with $K$ equal steps of the map $\check X$ of the previous round, the teacher.",
)

pd = preset(
    "pd",
    pfmm,
    "dyadic steps whose number halves, the first teacher a solver's step of a field",
    replaced(pfmm, velocity=TEACHER, constant="two teacher steps", law=Halving(10, 50_000)),
    teacher="field or map",
    options=(K, SOLVER),
    paper={"solver": "ddim", "weight": TruncatedSNR()},
    lacking="a network that predicts the data, and starts as the teacher of its round: both are settings of the run",
    source="Salimans, Ho 2202.00512, Alg. 2",
    summary=r"Progressive distillation: two teacher steps into one on a dyadic ladder whose rounds halve the number of "
    r"steps. The teacher of the first round is a field (each step one of `solver`), later the map of the round before. "
    r"The paper's time runs from the data.",
)

regression = row(
    "regression",
    Term(residual=solution, solves=True, whole=True, velocity=TEACHER, stop_gradient=True, constant="the solution"),
    teacher="field or map",
    options=(POINTS, START, SOLVER_OF_STEPS, STEPS),
    lacking="the Fourier layers in time of its networks",
    source="Zheng et al. 2211.13449; Li et al. 2010.08895",
    summary=r"Operator learning: $|X_{s,t}(I_s)-\Phi_{s,t}(I_s)|^2$ against the solution operator, at `points` "
    r"equidistant times up to $t$ (a whole trajectory).",
)

cmt = preset(
    "cmt",
    regression,
    "start=trajectory, solver=heun, steps=8",
    replaced(regression, constant="the trajectory of the solver"),
    options=(POINTS, START("trajectory"), SOLVER_OF_STEPS("heun"), STEPS(8)),
    paper={"law": Trajectory(law=EndpointFixed()), "solver": "dpm-solver"},
    lacking="",
    source="Hu et al. 2509.24526 and its code",
    summary=r"Consistency mid-training: $|X_{s,t}(x_s)-x_t|^2$ on a solver's trajectory of the teacher from the prior, "
    r"the stage between a teacher and self-distillation or consistency training, whose run starts from it with "
    r"`init`. The paper's clock has the data at 0; its code trains on each of 16 steps of DPM-Solver++, even in "
    r"$\log\sigma$, towards the last one: `Trajectory` gives every point of one solve, with `UpperTriangle()` towards "
    r"any later one, and a batch has as many trajectories as samples. It measures images by LPIPS, "
    r'`norm="lpips"`. The default takes `steps` steps to a random $s$ and as many to $t$; `points` shares them among '
    r"several $t$.",
)
