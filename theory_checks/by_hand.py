r"""What rows compare, written down once more from a network alone: a route that shares no formula with the library.

Each formula has the two sides of a row's term at what the row has drawn. The left one is of the map that is trained,
$v$; the right one, a constant, is of $w$: of the same map, or of its exponential average. A map is seen as its network
only, $X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$, and derivatives are the generic ones of the network's values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField
from flowops._arguments import per_event
from flowops.methods import Draw, TermDraw
from flowops.residuals import Sides
from theory_checks.gradients import along, flat_gradient

Field = Callable[[Tensor, Tensor], Tensor]
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""An average velocity as a function of both times and the state."""


class Place(NamedTuple):
    """What a formula is written in: the networks of both maps, the interpolant, the teacher, what a term has drawn."""

    v: FlowMap
    w: FlowMap
    I: Interpolant
    teacher: Any
    k: TermDraw

    @property
    def x(self) -> Tensor:
        """The state at the start time."""
        return self.I(self.k.s, self.k.x0, self.k.x1, self.k.z)

    @property
    def b(self) -> Field:
        r"""The teacher's field, or $\dot I$ of the samples where there is no teacher."""
        if isinstance(self.teacher, VelocityField):
            return self.teacher
        return lambda t, _: self.I.velocity(t, self.k.x0, self.k.x1, self.k.z)

    @property
    def own(self) -> Field:
        """The field on the diagonal of the map on the right side."""
        return on_diagonal(self.w)


Formula = Callable[[Place], Sides]


def on_diagonal(v: Velocity) -> Field:
    r"""$v_{t,t}(x)$."""
    return lambda t, x: v(t, t, x)


def moved(v: Velocity, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$X_{s,t}(x)$ of its average velocity."""
    return x + per_event(t - s, x) * v(s, t, x)


def through(v: Velocity, k: TermDraw, x: Tensor) -> Tensor:
    r"""$X_{u,t}(X_{s,u}(x))$ of its average velocity."""
    assert k.u is not None
    return moved(v, k.u, k.t, moved(v, k.s, k.u, x))


def one_step(b: Field, s: Tensor, t: Tensor, x: Tensor, solver: str = "heun") -> Tensor:
    """A step along a field."""
    h, first = per_event(t - s, x), b(s, x)
    return x + h * (first if solver == "euler" else (first + b(t, x + h * first)) / 2)


def flow_matching(p: Place) -> Sides:
    k = p.k
    x, velocity = p.I(k.t, k.x0, k.x1, k.z), p.I.velocity(k.t, k.x0, k.x1, k.z)
    return Sides(p.v(k.t, k.t, x), velocity)


def eulerian_in_velocities(p: Place, b: Field | None = None) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    velocity = (b or p.b)(s, x)
    return Sides(p.v(s, t, x), velocity + per_event(t - s, x) * p.w.material_derivative(s, t, x, velocity))


def in_the_network_of_trigflow(p: Place) -> Sides:
    r"""$F$ of $X_{s,t}(x)=\beta_sx-\alpha_sF$ against $F-\tfrac2\pi\beta_sD_sX_{s,t}(x)$."""
    s, t, x = p.k.s, p.k.t, p.x
    rate, velocity = -2 / math.pi, p.b(s, x)  # of s by the paper's time
    mixed = (per_event(p.I.beta(s), x), per_event(p.I.alpha(s), x))
    v, w = ((mixed[0] * x - moved(network, s, t, x)) / mixed[1] for network in (p.v, p.w))
    Y = FlowMap.from_function(lambda s, t, x: moved(p.w, s, t, x))
    return Sides(v, w + mixed[0] * rate * Y.material_derivative(s, t, x, velocity))


def along_the_mean(p: Place) -> Sides:
    r"""The derivative of the average velocity along the own velocity, beside the conditional one."""
    s, t, x = p.k.s, p.k.t, p.x
    slope = p.w.material_derivative(s, t, x, p.own(s, x))
    return Sides(p.v(s, t, x), p.b(s, x) + per_event(t - s, x) * slope)


def lagrangian_in_velocities(p: Place, b: Field | None = None) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    end = moved(p.w, s, t, x)
    return Sides(p.v(s, t, x), (b or p.b)(t, end) - per_event(t - s, x) * p.w.dt(s, t, x))


def eulerian(p: Place) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    X, Y = (FlowMap.from_function(lambda s, t, x, v=v: moved(v, s, t, x)) for v in (p.v, p.w))
    return Sides(X.ds(s, t, x), -Y.jvp(s, t, x, p.own(s, x)))


def lagrangian(p: Place) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    X = FlowMap.from_function(lambda s, t, x: moved(p.v, s, t, x))
    return Sides(X.dt(s, t, x), p.own(t, moved(p.v, s, t, x)))


def split_in_velocities(p: Place) -> Sides:
    k, x = p.k, p.x
    assert k.u is not None
    length = torch.where(k.t == k.s, 1, k.t - k.s)  # at equal times every share is right
    first, second = (per_event(part / length, x) for part in (k.u - k.s, k.t - k.u))
    right = first * p.w(k.s, k.u, x) + second * p.w(k.u, k.t, moved(p.w, k.s, k.u, x))
    return Sides(p.v(k.s, k.t, x), torch.where(per_event(k.t == k.s, x), p.w(k.s, k.s, x), right))


def split(p: Place) -> Sides:
    return Sides(moved(p.v, p.k.s, p.k.t, p.x), through(p.w, p.k, p.x))


def two_halves_in_velocities(p: Place) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    middle = (s + t) / 2
    return Sides(p.v(s, t, x), (p.w(s, middle, x) + p.w(middle, t, moved(p.w, s, middle, x))) / 2)


def two_halves(p: Place) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    middle = (s + t) / 2
    return Sides(moved(p.v, s, t, x), moved(p.w, middle, t, moved(p.w, s, middle, x)))


def two_steps_of_the_teacher(p: Place) -> Sides:
    s, t, x = p.k.s, p.k.t, p.x
    middle = (s + t) / 2
    if isinstance(p.teacher, FlowMap):
        return Sides(moved(p.v, s, t, x), p.teacher(middle, t, p.teacher(s, middle, x)))
    near = one_step(p.teacher, s, middle, x, "euler")
    return Sides(moved(p.v, s, t, x), one_step(p.teacher, middle, t, near, "euler"))


def on_the_trajectory(p: Place) -> Sides:
    r"""From the state to which eight Heun steps of the teacher lead from $x_0$ to that of eight more."""
    s, t, states = p.k.s, p.k.t, [p.k.x0]
    for start, end in ((torch.zeros_like(s), s), (s, t)):
        y, grid = states[-1], [torch.lerp(start, end, i / 8) for i in range(9)]
        for a, b in pairwise(grid):
            y = one_step(p.teacher, a, b, y)
        states.append(y)
    return Sides(moved(p.v, s, t, states[1]), states[2])


def next_rung(p: Place) -> Sides:
    r"""To time 1 from $s$, and from $I_u$ of the same samples or a Heun step of the teacher."""
    k, x = p.k, p.x
    assert k.u is not None
    later = p.I(k.u, k.x0, k.x1, k.z) if p.teacher is None else one_step(p.teacher, k.s, k.u, x)
    one = torch.ones_like(k.s)
    return Sides(moved(p.v, k.s, one, x), moved(p.w, k.u, one, later))


def seen_at_the_end(p: Place) -> Sides:
    r"""Both sides carried on to time 1 by the map on the right, along the teacher's or that map's own field."""
    k, x = p.k, p.x
    assert k.u is not None
    later = one_step(p.own if p.teacher is None else p.teacher, k.s, k.u, x)
    one = torch.ones_like(k.t)
    left = moved(p.w, k.t, one, moved(p.v, k.s, k.t, x))
    return Sides(left, moved(p.w, k.t, one, moved(p.w, k.u, k.t, later)))


def lagrangian_differenced(v: Velocity, b: Field, k: TermDraw, x: Tensor) -> Sides:
    r"""$\partial_tX_{s,t}(x)$ and $b_t(X_{s,t}(x))$; derivatives are central differences of values."""
    return Sides(along(lambda h: moved(v, k.s, k.t + h, x)), b(k.t, moved(v, k.s, k.t, x)))


def eulerian_differenced(v: Velocity, w: Velocity, b: Field, k: TermDraw, x: Tensor) -> Sides:
    r"""$\partial_sX_{s,t}(x)$ and, of the map of $w$, $-\nabla X_{s,t}(x)\,b_s(x)$, by differences too."""
    velocity = b(k.s, x)
    left, right = along(lambda h: moved(v, k.s + h, k.t, x)), along(lambda h: moved(w, k.s, k.t, x + h * velocity))
    return Sides(left, -right)


def squares(sides: Sides, *, frozen: bool = True) -> Tensor:
    """The squared distance of the two sides, sample by sample; the right one is a constant unless told otherwise."""
    left, right = sides
    return (left - (right.detach() if frozen else right)).square().flatten(1).sum(1)


def along_own(formula: Callable[[Place, Field], Sides]) -> Formula:
    """The formula along the field on the diagonal of the map on the right."""
    return lambda p: formula(p, p.own)


FORMULAS: Mapping[tuple[str, str], Formula] = {
    ("ayf-emd", ""): eulerian_in_velocities,
    ("ayf-lmd", ""): lagrangian_in_velocities,
    ("scm", "velocity"): eulerian_in_velocities,
    ("scm", "trigflow"): in_the_network_of_trigflow,
    ("meanflow", ""): eulerian_in_velocities,
    ("imf", ""): along_the_mean,
    ("pd", ""): two_steps_of_the_teacher,
    ("cmt", ""): on_the_trajectory,
    ("cd", ""): next_rung,
    ("ct", ""): next_rung,
    ("ict", ""): next_rung,
    ("ect", ""): next_rung,
    ("ctm", ""): seen_at_the_end,
    ("lsd", "map"): lagrangian,
    ("lsd", "velocity"): along_own(lagrangian_in_velocities),
    ("esd", "map"): eulerian,
    ("esd", "velocity"): along_own(eulerian_in_velocities),
    ("psd-u", "map"): split,
    ("psd-u", "velocity"): split_in_velocities,
    ("psd-m", "map"): two_halves,
    ("psd-m", "velocity"): two_halves_in_velocities,
    ("split-meanflow", ""): split_in_velocities,
    ("shortcut", ""): two_halves_in_velocities,
}
"""By the name of the row and its form."""


def by_hand(
    formula: Formula,
    X: LearnedMap,
    I: Interpolant,
    draw: Draw,
    *,
    teacher: Any = None,
    average: LearnedMap | None = None,
) -> Tensor:
    """The gradient of the mean square of a formula on its part of the batch, and of flow matching on the other."""
    v = FlowMap.from_function(X.network)
    held = FlowMap.from_function(copy.deepcopy((average or X).network).requires_grad_(False))
    losses = []
    for i, k in enumerate(draw.terms):
        if k is not None:
            last = i == len(draw.terms) - 1
            losses.append(squares((formula if last else flow_matching)(Place(v, held, I, teacher, k))))
    return flat_gradient(torch.cat(losses).mean(), X)
