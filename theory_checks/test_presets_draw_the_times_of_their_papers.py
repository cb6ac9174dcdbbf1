r"""Presets that differ from their base row by a law of times draw the times of their papers.

`pd`: dyadic steps, half as many in every round. `cd`: adjacent rungs of an even ladder. `ict`: adjacent noise levels,
evenly spaced in their seventh root, 10 steps at first and 1280 at last. `ect`: noise levels whose ratio is that of its
stage. `scm`: the end 1. `shortcut`: dyadic steps down to 1/64. Every draw is held to the formula under the linear
interpolant, where $\sigma=(1-t)/t$; the times of another law are seen.

Source: 2202.00512 Alg. 2; 2303.01469; 2310.14189 Table 1; 2406.14548; 2410.11081; 2410.12557.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import interpolants
from flowops.methods import METHODS, TermDraw
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import batch, random_map
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()


def noise(t: Tensor) -> Tensor:
    r"""$\sigma=\alpha/\beta$ of the linear interpolant."""
    return (1 - t) / t


def off_whole(x: Tensor) -> Tensor:
    """The distance from the next whole number."""
    return x - x.round()


def on_karras_rungs(k: TermDraw, steps: int) -> Tensor:
    """Adjacent rungs of noise levels that are evenly spaced in their seventh root; the outer ones are moved."""
    assert k.u is not None
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    n, after = (steps * (noise(t) ** (1 / 7) - high) / (low - high) for t in (k.s, k.u))
    inner = (k.s > 0) & (k.u < 1)
    return torch.cat([off_whole(n[inner]), (after - n - 1)[inner]])


def shrunk(k: TermDraw, stage: int) -> Tensor:
    r"""$\sigma'=\sigma\max(1-(1+8/(1+e^\sigma))\,2^{-a},0)$ in the stage $a$, up to the end of the schedule."""
    assert k.u is not None
    sigma = noise(k.s)
    return noise(k.u) - sigma * (1 - (1 + 8 / (1 + sigma.exp())) / 2**stage).clamp(min=0)


def dyadic(k: TermDraw, least: int, most: int) -> Tensor:
    r"""$t-s=2^{-j}$ with $j$ in a range and $s$ a multiple of it."""
    level = -(k.t - k.s).log2()
    return torch.cat([off_whole(level), off_whole(k.s / (k.t - k.s)), level - level.clamp(least, most)])


def on_even_rungs(k: TermDraw, steps: int) -> Tensor:
    """Adjacent multiples of one over the number of steps, and the end."""
    assert k.u is not None
    return torch.cat([off_whole(steps * k.s), steps * (k.u - k.s) - 1, k.t - 1])


TIMES: list[tuple[str, int | None, Callable[[TermDraw], Tensor]]] = [
    ("pd", 0, lambda k: dyadic(k, 9, 9)),
    ("pd", 300_000, lambda k: dyadic(k, 3, 3)),
    ("pd", None, lambda k: dyadic(k, 0, 0)),
    ("cd", None, lambda k: on_even_rungs(k, 17)),
    ("ict", 0, lambda k: on_karras_rungs(k, 10)),
    ("ict", None, lambda k: on_karras_rungs(k, 1280)),
    ("ect", 0, lambda k: shrunk(k, 1)),
    ("ect", 30_000, lambda k: shrunk(k, 4)),
    ("ect", None, lambda k: shrunk(k, 8)),
    ("scm", None, lambda k: k.t - 1),
    ("shortcut", None, lambda k: dyadic(k, 0, 6)),
]


def test_every_preset_with_a_law_of_its_own_is_here() -> None:
    bases = {name: METHODS[method.row.preset_of] for name, method in METHODS.items() if method.row.preset_of}
    assert {name for name, _, _ in TIMES} == {
        name for name, base in bases.items() if METHODS[name].terms[-1].law != base.terms[-1].law
    }


@pytest.mark.parametrize(("name", "step", "law"), TIMES)
def test_the_times_are_those_of_the_papers(
    check: Check, name: str, step: int | None, law: Callable[[TermDraw], Tensor]
) -> None:
    samples = batch(3, 400)
    for method in (METHODS[name], METHODS["psd-u"]):
        teacher = random_map() if name == "pd" else SmoothField((2,), seed=6)
        k = method.draw(random_map(), I, *samples, teacher=teacher, step=step, seed=3).terms[-1]
        assert k is not None
        if method is METHODS[name]:
            check.vanishes(law(k), CLOSED_FORM)
        else:
            assert law(k._replace(u=(k.s + k.t) / 2)).abs().max() > 0.01  # other times are seen
