"""Every row of the table of methods, draw and loss, on a pretended device."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap, VelocityField
from flowops.interpolants import encoding_decoding, linear
from flowops.methods import METHODS, Learned, Method, get_method
from flowops.networks import LearnedWeight
from flowops.times import Trajectory
from tests.devices.cases import Body, Case, Device, Group
from tests.devices.operators import CONTROL, learned

STEP = 3  # of a curriculum that is not at its end
SOLVING = ("reflow", "regression")


def teacher_of(method: Method, X: FlowMap, kind: str = "map") -> VelocityField | FlowMap | None:
    """What the row distils, made of a map; of a row that takes either, the given kind."""
    wanted = method.row.teacher.removeprefix("optional ")
    held: dict[str, VelocityField | FlowMap] = {"field": X.velocity(), "map": X}
    return None if not wanted else held[kind if wanted == "field or map" else wanted]


def loss(method: Method, device: Device, *, kind: str = "map", latent: bool = False) -> Body:
    """Draw and loss with labels, in the middle of the curriculum of a row that is on the device."""
    X, held = device.module(learned), device.module(lambda: learned().requires_grad_(False))
    I, x0, x1 = device.module(encoding_decoding if latent else linear), device.zeros(6, 2), device.zeros(6, 2)
    labels, teacher = device.zeros(6, dtype=torch.long), teacher_of(method, held, kind)

    def run() -> Tensor:
        draw = method.draw(X, I, x0, x1, labels=labels, step=STEP, seed=0, teacher=teacher, average=held)
        return method.evaluate(X, I, draw, teacher=teacher, average=held).loss

    return run


def of_row(name: str, device: Device, *, kind: str = "map", latent: bool = False, **options: Any) -> Body:
    """A row of the table."""
    method = device.module(lambda: get_method(name, label_dropout=0.1, **options))
    return loss(method, device, kind=kind, latent=latent)


def of_row_with_every_option(name: str, device: Device) -> Body:
    """A row with its further options on."""
    return of_row(name, device, **device.built(lambda: every(name, device.differentiates)))


def every(name: str, differentiates: bool) -> dict[str, Any]:
    """The options of the paper, but a balance by gradients where there are none, and what else the row offers."""
    row = METHODS[name].row
    offered = {option.name for option in row.options}
    more: dict[str, Any] = {"stop_gradient": True, "normalize": 0.1, "warmup": 10, "start": "pushforward", "p": 1.0}
    more |= {"ema_teacher": True, "norm": "pseudo-huber", "solver": "heun", "weight": Learned(LearnedWeight(8)), "K": 2}
    if any(term.guided and term.velocity for terms in row.forms.values() for term in terms):
        more["guidance"] = (1.0, 4.0)
    if isinstance(row.paper.get("law"), Trajectory):
        offered -= {"start", "weight"}  # such a law starts every row itself, at more than one time
    by_rows = {"balance": "rows"} if row.paper.get("balance") == "gradients" and not differentiates else {}
    return {**{key: value for key, value in more.items() if key in offered}, **row.paper, **by_rows}


def forms(name: str) -> list[str]:
    """The other forms of a row."""
    return list(METHODS[name].row.forms)[1:]


METHOD_GROUPS = (
    Group(
        "Methods",
        (
            *(Case(f"`{name}`", partial(of_row, name)) for name in METHODS),
            *(
                Case(f"`{name}`, form {form}", partial(of_row, name, form=form))
                for name in METHODS
                for form in forms(name)
            ),
            Case("`lsd`, with a latent", partial(of_row, "lsd", latent=True)),
            *(Case(f"`{name}`, of a field", partial(of_row, name, kind="field"), never=CONTROL) for name in SOLVING),
            *(Case(f"`{name}`, of a field", partial(of_row, name, kind="field")) for name in ("pd", "cmt")),
        ),
    ),
    Group(
        "Methods with the options of their papers and others",
        tuple(Case(f"`{name}`", partial(of_row_with_every_option, name)) for name in METHODS),
    ),
)
