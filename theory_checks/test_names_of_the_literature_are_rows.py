r"""Names of the literature are rows: the loss of each, in its own clock and letters, has the gradient of the row.

Every loss is written from its paper's or its code's formula, for a random network in the paper's letters; derivatives
are central differences of the network. `e` is noise and `data` data, and a clock with the data at 0 is $t=1-s$. What a
published method has besides (second networks, clamps, learned factors) is named in the atlas and left out here. Every
other relation of the atlas names the file that executes it.

Source: 2209.03003; 2101.02388; 2511.19428; 2511.19797; 2510.24474; RCGM (Sun, Lin, ICLR 2026).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, LearnedMap, interpolants
from flowops.methods import METHODS, TermDraw, get_method
from flowops.methods.atlas import NAMES, PRESETS, atlas
from theory_checks.gradients import (
    DIFFERENCED,
    EDGES,
    SAME,
    STARTS,
    Batch,
    Edge,
    Fixed,
    Network,
    Translated,
    agree,
    along,
    batch,
    flat_gradient,
    gradient,
    random_map,
    tends,
)
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
HERE = Path(__file__)
Translation = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
EPS = 0.01  # of Decoupled MeanFlow
LOGARITHM = 0.3  # its l, held
STEP = 0.05  # of RCGM
LENGTH = 0.2  # of its intervals here


def squared(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def column(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Place:
    """What a paper's loss of one term is written in: networks in its letters, and what our row has drawn."""

    network: nn.Module
    average: nn.Module
    teacher: Any
    k: TermDraw
    off: float

    @property
    def noised(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """$t$, $r$, $z_t$ and $e-$ data of a clock with the data at 0."""
        t, r, e, data = 1 - self.k.s, 1 - self.k.t, self.k.x0, self.k.x1
        return t, r, column(1 - t, e) * data + column(t, e) * e, e - data


Loss = Callable[[Place], Tensor]


@dataclass(frozen=True)
class Name:
    """A method of the literature: its loss per sample, and the call of the row that it is.

    Attributes:
        loss: of one term, `[rows]`; `off` makes it err.
        options: of the row, beside those of the atlas, for states of a shape.
        letters: its network as our average velocity.
        teacher: what is distilled, if anything.
        coupled: whether our row is given the teacher's images of the base samples as data.
        tolerance: of the comparison.
    """

    loss: Loss
    options: Callable[[Edge], dict[str, Any]]
    letters: Translation = lambda net, s, t, x: net(s, t, x)
    teacher: Callable[[Edge], Any] = lambda _: None
    coupled: bool = False
    tolerance: float = SAME


def backward(net: nn.Module, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """$u(z,r,t)$ of a clock with the data at 0, called as (r, t, z), as our average velocity."""
    return -net(1 - t, 1 - s, x)


def rectified_again(p: Place) -> Tensor:
    """Liu et al. (1) on the pairs of the flow: $|X_1-X_0-v(X_t,t)|^2$."""
    t, start = p.k.t, p.k.x0
    end = (1 + p.off) * p.teacher(torch.zeros_like(t), torch.ones_like(t), start)
    x = column(1 - t, start) * start + column(t, start) * end
    return squared(end - start - p.network(t, t, x))


def distilled_at_once(p: Place) -> Tensor:
    """The student's one step from the noise against the teacher's whole solution."""
    zero, one = torch.zeros_like(p.k.s), torch.ones_like(p.k.s)
    return squared(p.k.x0 + p.network(zero, one, p.k.x0) - (1 + p.off) * p.teacher(zero, one, p.k.x0))


def generating_velocity(p: Place) -> Tensor:
    r"""$|F-\mathrm{sg}(u(f,1-\delta)-\delta\,\partial_\delta F)|^2$ of $f_\delta(z)=z+\delta F$ at the prior."""
    z, d = p.k.x0, p.k.t
    zero = torch.zeros_like(d)
    rate = along(lambda h: p.network(zero, d + h, z))
    generated = z + column(d, z) * p.network(zero, d, z)
    target = (1 + p.off) * p.teacher(d, generated) - column(d, z) * rate
    return squared(p.network(zero, d, z) - target.detach())


def terminal_velocity(p: Place) -> Tensor:
    r"""$|\tfrac{d}{ds}f(x_t,t,s)-\mathrm{sg}\bar F(f,s,0)|^2$, $f=x+(s-t)F(x,t,t-s)$, or flow matching at $t=s$."""
    t, s, x, velocity = p.noised
    if torch.equal(t, s):
        return squared(p.network(t, t - s, x) - velocity)

    def moving(h: float | Tensor) -> Tensor:
        return x + column(s + h - t, x) * p.network(t, t - s - h, x)

    end = moving(0.0).detach()
    target = (1 + p.off) * p.average(s, 0 * s, end)
    return squared(along(moving) - target.detach())


def decoupled(p: Place) -> Tensor:
    r"""$\log(e^{-\ell}\,\overline{|D|^2}+\epsilon)+\ell$ of MeanFlow's difference $D$, the mean over its numbers."""
    t, r, z, v = p.noised
    rate = along(lambda h: p.network(r, t + h, z + h * v))
    difference = p.network(r, t, z) - (v - column(t - r, z) * rate * (1 + p.off)).detach()
    mean, held = difference.flatten(1).square().mean(1), torch.tensor(LOGARITHM, dtype=z.dtype)
    return torch.log(torch.exp(-held) * mean + EPS) + held


def recursive(p: Place) -> Tensor:
    r"""$|F-\mathrm{sg}(F-\Delta F)|^2$, $\Delta F=((t-r)F(x_t,t,r)-(t'-r)F(x_{t'},t',r))/h-v$ at $t'=t-h$."""
    t, r, z, v = p.noised
    if torch.equal(t, r):
        return squared(p.network(r, t, z) - v)
    h = (1 + p.off) * STEP
    later = p.network(r, t - h, z - h * v)
    value = p.network(r, t, z)
    change = (column(t - r, z) * value - column(t - h - r, z) * later) / h - v
    return squared(value - (value - change).detach())


def by_field(edge: Edge) -> SmoothField:
    return SmoothField(edge.event, seed=6)


def by_map(edge: Edge) -> FlowMap:
    return random_map(2, edge.event).to(edge.dtype)


FROM_THE_START = Fixed((0.0,) * len(STARTS))
FROM_START_TO_END = Fixed((0.0,) * len(STARTS), (1.0,) * len(STARTS))
OF_ONE_LENGTH = Fixed(STARTS, tuple(s + LENGTH for s in STARTS))


def adaptive(edge: Edge) -> dict[str, Any]:
    r"""$c=d\epsilon e^\ell$."""
    return {"eta": 0.5, "c": torch.Size(edge.event).numel() * EPS * math.exp(LOGARITHM)}


EXECUTED = {
    "reflow": Name(rectified_again, lambda _: {}, teacher=by_map, coupled=True),
    "knowledge distillation": Name(distilled_at_once, lambda _: {"law": FROM_START_TO_END}, teacher=by_map),
    "FreeFlow (prediction)": Name(
        generating_velocity, lambda _: {"law": FROM_THE_START}, teacher=by_field, tolerance=DIFFERENCED
    ),
    "TVM": Name(
        terminal_velocity,
        lambda _: {"eta": 1 / 3},
        letters=lambda net, s, t, x: -net(1 - s, t - s, x),
        tolerance=DIFFERENCED,
    ),
    "Decoupled MeanFlow": Name(decoupled, adaptive, letters=backward, tolerance=DIFFERENCED),
    "RCGM (first order)": Name(
        recursive, lambda _: {"eta": 0.5, "law": OF_ONE_LENGTH, "alpha": STEP / LENGTH}, letters=backward
    ),
}
RELATIONS = {relation.name: relation for relation in NAMES if relation.check == HERE.stem.removeprefix("test_")}
EVERY = pytest.mark.parametrize("name", EXECUTED)


def both(name: str, edge: Edge | None = None, off: float = 0.0) -> tuple[Tensor, Tensor]:
    """The gradients of our row and of the published loss."""
    edge, method, relation = edge or Edge(), EXECUTED[name], RELATIONS[name]
    options = {**relation.options, **method.options(edge)}
    if "eta" in options and (edge.n == 1 or edge.law is not None):
        options["eta"] = 0.0
    if edge.law is not None and "law" not in options:
        options["law"] = edge.law
    network, average = (Network(seed, event=edge.event).to(edge.dtype) for seed in (1, 5))
    X, held = (LearnedMap(Translated(net, method.letters)) for net in (network, average))
    samples, teacher = batch(1, edge.n, edge.event, edge.dtype), method.teacher(edge)
    row = get_method(relation.of, **options)
    if method.coupled:
        samples = Batch(samples.x0, teacher(0.0, 1.0, samples.x0).detach())
    mean = held if options.get("ema_teacher") else None
    draw = row.draw(X, I, *samples, teacher=teacher, average=mean, seed=3)
    places = (Place(network, average, teacher, k, off) for k in draw.terms if k is not None)
    losses = [method.loss(place) for place in places]
    by_terms = options.get("balance") == "terms"
    whole = torch.stack([loss.mean() for loss in losses]).sum() if by_terms else torch.cat(losses).mean()
    theirs = flat_gradient(whole, X)
    return gradient(row, X, I, samples, teacher=teacher, average=mean), theirs


def test_every_relation_names_the_file_that_executes_it() -> None:
    assert set(RELATIONS) == set(EXECUTED)
    for relation in (relation for relation in atlas() if relation.name not in RELATIONS):
        text = (HERE.parent / f"test_{relation.check}.py").read_text(encoding="utf-8")
        assert f'"{relation.of}"' in text or f"`{relation.of}`" in text, (
            f"{relation.name} is said to be {relation.of} in {relation.check}"
        )
        if relation.name in METHODS:
            assert f'"{relation.name}"' in text or f"`{relation.name}`" in text, (
                f"{relation.name} must stand in {relation.check}"
            )


def test_every_preset_and_every_row_of_the_atlas_is_one_of_the_table() -> None:
    assert {r.name for r in atlas() if r.check == PRESETS} == {n for n, m in METHODS.items() if m.row.preset_of}
    for relation in atlas():
        get_method(relation.of, **relation.options)


@EVERY
def test_same_gradient(check: Check, name: str) -> None:
    agree(check, *both(name), EXECUTED[name].tolerance, where=f"of {name} and {RELATIONS[name].of}")


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@EVERY
def test_at_the_edges(check: Check, name: str, edge: Edge) -> None:
    tolerance = EXECUTED[name].tolerance
    if edge.dtype == torch.float32:
        if tolerance == DIFFERENCED:
            pytest.skip("differences of single precision")
        tolerance = edge.tolerance
    agree(check, *both(name, edge), tolerance, where=f"of {name} and {RELATIONS[name].of}")


@EVERY
def test_negative_control(check: Check, name: str) -> None:
    """A loss that errs by delta is seen, in proportion; a clock that is not turned round is another method."""
    ours, _ = both(name)
    wrong, half = ((both(name, off=delta)[1] - ours) / ours.norm() for delta in (1e-2, 5e-3))
    check.sees(wrong, half, EXECUTED[name].tolerance)


def test_recursive_models_tend_to_meanflow(check: Check) -> None:
    X = random_map(1)
    limit = gradient(get_method("meanflow", eta=0.5, law=OF_ONE_LENGTH), X, I, batch(1))

    def at(step: float) -> Tensor:
        return gradient(get_method("alpha-flow", eta=0.5, law=OF_ONE_LENGTH, alpha=step / LENGTH), X, I, batch(1))

    tends(check, at, limit, (0.008, 0.004, 0.002))
