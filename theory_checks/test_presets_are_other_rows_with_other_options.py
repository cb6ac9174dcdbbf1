r"""A preset is another row with other options: their gradients on random networks are equal.

`METHODS` declares some rows as presets of others. Each declaration is executed by three routes: the preset; its base
row with the declared options, and with a teacher made for it where the preset has none; and two sides written down from
the network alone (`by_hand.py`). The base row with an option, or the teacher, off by $\delta$ is off by $O(\delta)$; in
another form, without its stop-gradient or on other times it is another method.

Source: 2303.01469; 2310.14189; 2406.14548; 2410.11081; 2506.14603; 2202.00512; 2410.12557; 2507.16884; 2505.13447.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField, interpolants
from flowops._arguments import per_event
from flowops.methods import METHODS, Draw, get_method
from flowops.methods.point import ConditionalVelocity
from flowops.times import (
    Doubling,
    Dyadic,
    EndpointFixed,
    Halving,
    Karras,
    Ladder,
    LogNoise,
    Pair,
    Request,
    Shrinking,
    TimeLaw,
    UpperTriangle,
)
from theory_checks.by_hand import FORMULAS, by_hand
from theory_checks.controls import Perturbed
from theory_checks.gradients import (
    EDGES,
    SAME,
    Batch,
    Edge,
    Fixed,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
)
from theory_checks.method_cases import defaults_of
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
Options = Mapping[str, Any]
Teacher = VelocityField | FlowMap | None


@dataclass(frozen=True, eq=False)
class Call:
    """What both rows are called with, the options that both are given, and what the preset draws."""

    X: LearnedMap
    I: Interpolant
    samples: Batch
    teacher: Teacher
    step: int | None
    options: Options
    draw: Draw

    def of(self, base: str, options: Options, teacher: Teacher = None) -> Tensor:
        """The gradient of the base row."""
        method = get_method(base, **options)
        return gradient(method, self.X, self.I, self.samples, teacher=teacher, step=self.step)


Route = Callable[[Call, str, dict[str, Any], float], Tensor]
"""The gradient of the base row with these options, or its teacher, off by a number."""


@dataclass(frozen=True)
class Equality:
    """What a preset is declared to be.

    Attributes:
        base: the other row.
        options: its options.
        route: how it is called, and what can be off.
        wrong: options that make it another method.
        both: options that the preset and the base row are both called with; the last ones in the negative control.
        teachers: kinds of teacher.
        steps: steps of the training at which they are compared.
    """

    base: str
    options: Options
    route: Route
    wrong: tuple[Options, ...]
    both: tuple[Options, ...] = ({},)
    teachers: tuple[str, ...] = ("",)
    steps: tuple[int | None, ...] = (None,)

    def gradient(self, call: Call, off: float = 0.0) -> Tensor:
        """Of the base row under the declared options, one of them off by a number."""
        return self.route(call, self.base, {**self.options, **call.options}, off)


@dataclass(frozen=True)
class Nearer(TimeLaw):
    """The pairs of a law with the end nearer to the start, by a fraction."""

    law: TimeLaw
    fraction: float

    def draw(self, request: Request) -> Pair:
        s, t = self.law.draw(request)
        return Pair(s, torch.lerp(t, s, self.fraction))


def split_at(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    """The place of the split is off."""
    return call.of(base, {**options, "gamma": options.get("gamma", 0.5) + off} if off else options)


def along_a_mixture(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    """The share of the conditional velocity in the tangent is off."""
    return call.of(base, {**options, "tangent": options["tangent"] + off})


def along_the_teacher(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    r"""The teacher is too fast; where there is none, $\dot I_s$ of the samples is one, at the times of all terms."""
    terms = [k for k in call.draw.terms if k is not None]
    if "eta" in options:
        s, t = (tuple(torch.cat(times).tolist()) for times in zip(*((k.s, k.t) for k in terms), strict=True))
        options = {**options, "law": Fixed(s, t)}
        del options["eta"]
    z = None if terms[0].z is None else torch.cat([k.z for k in terms if k.z is not None])
    b = ConditionalVelocity(call.I, *call.samples, z) if call.teacher is None else call.teacher
    assert isinstance(b, VelocityField)
    return call.of(base, options, (1 + off) * b)


def after_the_round_before(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    """The map of the round before is off; in the first round it is one Euler step of the field."""
    b = call.teacher
    before = (
        FlowMap.from_function(lambda s, t, x: x + per_event(t - s, x) * b(s, x)) if isinstance(b, VelocityField) else b
    )
    assert isinstance(before, FlowMap)
    return call.of(base, options, Perturbed(before, off))


def on_rungs(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    """The second rung is too near to the first."""
    return call.of(base, {**options, "law": Nearer(options["law"], off)})


def rung_by_rung(call: Call, base: str, options: dict[str, Any], off: float) -> Tensor:
    r"""Sample by sample with its own $\varepsilon=(u-s)/(1-s)$, too small; nothing where both rungs are the same."""
    (k,) = call.draw.terms
    assert k is not None
    assert k.u is not None
    total = torch.zeros(())
    for i, (s, u) in enumerate(zip(k.s.tolist(), k.u.tolist(), strict=True)):
        if u > s:
            epsilon = (1 - off) * (u - s) / (1 - s)
            method = get_method(base, **{**options, "law": Fixed((s,), (1.0,)), "epsilon": epsilon})
            x0, x1 = (x[i : i + 1] for x in call.samples)
            draw = method.draw(call.X, call.I, x0, x1, teacher=call.teacher, seed=0)
            (own,) = draw.terms
            assert own is not None
            draw = draw._replace(terms=(own._replace(z=None if k.z is None else k.z[i : i + 1]),))
            total = total + flat_gradient(method.evaluate(call.X, call.I, draw, teacher=call.teacher).loss, call.X)
    return total / len(k.s)


THAWED = {"stop_gradient": False}
HALF = {"eta": 0.5}
EQUALITIES = {
    "ayf-emd": Equality(
        "emd",
        {"form": "velocity", "stop_gradient": True},
        along_the_teacher,
        wrong=(THAWED, {"form": "map"}),
        teachers=("field",),
    ),
    "ayf-lmd": Equality(
        "lmd",
        {"form": "velocity", "stop_gradient": True},
        along_the_teacher,
        wrong=(THAWED, {"form": "map"}),
        teachers=("field",),
    ),
    "pd": Equality(
        "pfmm",
        {"law": Halving(10, 50_000)},
        after_the_round_before,
        wrong=({"K": 1}, {"K": 3}, {"law": UpperTriangle()}),
        teachers=("map", "field"),
        steps=(300_000, None),
    ),
    "cmt": Equality(
        "regression",
        {"start": "trajectory", "solver": "heun", "steps": 8},
        along_the_teacher,
        wrong=({"start": "interpolant"}, {"start": "pushforward"}, {"steps": 1, "solver": "euler"}),
        teachers=("field",),
    ),
    "cd": Equality(
        "discrete-emd",
        {"solver": "heun"},
        rung_by_rung,
        wrong=(THAWED, {"solver": "euler"}),
        teachers=("field",),
    ),
    "ict": Equality(
        "ct",
        {"law": Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0))},
        on_rungs,
        wrong=(THAWED, {"law": Ladder(Doubling(), Karras())}, {"law": Ladder(18)}),
        steps=(0, None),
    ),
    "ect": Equality(
        "ct",
        {"law": Shrinking()},
        on_rungs,
        wrong=(THAWED, {"law": Shrinking(k=2.0)}, {"law": Ladder(18)}),
        steps=(0, 30_000, None),
    ),
    "scm": Equality(
        "ayf-emd",
        {"law": EndpointFixed()},
        along_the_teacher,
        wrong=(THAWED, {"law": EndpointFixed(end=0.9)}),
        teachers=("", "field"),
    ),
    "meanflow": Equality("ayf-emd", {}, along_the_teacher, wrong=(THAWED,), both=(HALF,)),
    "imf": Equality("meanflow", {"tangent": 0.0}, along_a_mixture, wrong=(THAWED, {"tangent": 1.0}), both=(HALF,)),
    "psd-m": Equality(
        "psd-u",
        {"gamma": 0.5},
        split_at,
        wrong=(THAWED, {"gamma": None}),
        both=({**HALF, "form": "map"}, {**HALF, "form": "velocity"}),
    ),
    "split-meanflow": Equality(
        "psd-u",
        {"form": "velocity"},
        split_at,
        wrong=(THAWED, {"form": "map"}),
        both=(HALF, {**HALF, "gamma": 0.4}),
    ),
    "shortcut": Equality(
        "psd-m",
        {"law": Dyadic(7)},
        split_at,
        wrong=(THAWED, {"law": UpperTriangle()}, {"form": "map"}),
        both=(HALF,),
    ),
}

PRESETS = {name: method for name, method in METHODS.items() if method.row.preset_of}
EVERY = pytest.mark.parametrize(
    ("name", "teacher", "options"),
    [
        pytest.param(name, teacher, options, id=" ".join([name, teacher, options.get("form", "")]).strip())
        for name, equality in EQUALITIES.items()
        for teacher in equality.teachers
        for options in equality.both
    ],
)


def call(
    name: str, teacher: str, options: Options, I: Interpolant, *, step: int | None = None, edge: Edge | None = None
) -> Call:
    """A random map and samples, and what the preset draws."""
    edge = edge or Edge()
    X = random_map(1, edge.event).to(edge.dtype)
    samples = batch(1, edge.n, edge.event, edge.dtype)
    distils: Teacher = {"": None, "field": SmoothField(edge.event, seed=6), "map": random_map(2, edge.event)}[teacher]
    if isinstance(distils, FlowMap):
        distils = distils.to(edge.dtype)
    drawn = get_method(name, **options).draw(X, I, *samples, teacher=distils, step=step, seed=3)
    return Call(X, I, samples, distils, step, options, drawn)


def of_preset(name: str, call: Call) -> Tensor:
    """The gradient of the preset."""
    return call.of(name, call.options, call.teacher)


def written_down(name: str, call: Call) -> Tensor:
    """The gradient by hand."""
    form = get_method(name, **call.options).options.form if len(METHODS[name].row.forms) > 1 else ""
    return by_hand(FORMULAS[name, form], call.X, call.I, call.draw, teacher=call.teacher)


def test_every_preset_is_here() -> None:
    assert {name: method.row.preset_of for name, method in PRESETS.items()} == {
        name: equality.base for name, equality in EQUALITIES.items()
    }


@pytest.mark.parametrize("name", EQUALITIES)
def test_the_options_are_those_that_the_table_declares(name: str) -> None:
    """What the settings of a row name, and no default that differs unnamed; a law may be described in words."""
    equality, row = EQUALITIES[name], METHODS[name].row
    named = set(re.findall(r"(\w+)=", row.settings))
    assert set(equality.options) - {"law"} <= named <= set(equality.options)
    ours, theirs = defaults_of(row), defaults_of(METHODS[equality.base].row)
    unnamed = (ours.keys() & theirs.keys()) - named
    assert {key: ours[key] for key in unnamed} == {key: theirs[key] for key in unnamed}


@EVERY
def test_same_gradient(interpolant: Interpolant, check: Check, name: str, teacher: str, options: Options) -> None:
    for step in EQUALITIES[name].steps:
        try:
            c = call(name, teacher, options, interpolant, step=step)
        except ValueError as error:
            if not isinstance(EQUALITIES[name].options.get("law"), Ladder | Shrinking):
                raise
            pytest.skip(str(error))  # a schedule without the noise levels of the law
        ours = of_preset(name, c)
        agree(check, ours, EQUALITIES[name].gradient(c), where=f"of {name} and {EQUALITIES[name].base}")
        agree(check, ours, written_down(name, c), where=f"of {name} and the formula")


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@EVERY
def test_at_the_edges(check: Check, name: str, teacher: str, options: Options, edge: Edge) -> None:
    if edge.law is not None or edge.n == 1:
        options = {**options, **({"law": edge.law} if edge.law else {}), **({"eta": 0.0} if "eta" in options else {})}
    c = call(name, teacher, options, I, step=EQUALITIES[name].steps[0], edge=edge)
    ours = of_preset(name, c)
    assert ours.dtype == edge.dtype
    agree(check, ours, EQUALITIES[name].gradient(c), edge.tolerance, where=f"of {name} and {EQUALITIES[name].base}")
    agree(check, ours, written_down(name, c), edge.tolerance, where=f"of {name} and the formula")


@pytest.mark.parametrize(("name", "teacher"), [(name, t) for name, e in EQUALITIES.items() for t in e.teachers])
def test_negative_control(check: Check, name: str, teacher: str) -> None:
    """An option or a teacher that is off by delta is seen, and so is every other method."""
    equality = EQUALITIES[name]
    options = {key: 0.0 if key == "eta" else value for key, value in equality.both[-1].items()}
    c = call(name, teacher, options, I, step=equality.steps[-1])
    ours = of_preset(name, c)
    wrong, half = ((equality.gradient(c, delta) - ours) / ours.norm() for delta in (1e-2, 5e-3))
    check.sees(wrong, half, SAME)
    for changes in equality.wrong:
        differ(ours, replace(equality, options={**equality.options, **changes}).gradient(c))
