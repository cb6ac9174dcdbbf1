r"""A sample of self-distillation costs eta + (1 - eta)(1 + C) network calls, by the semigroup eta + 3(1 - eta).

$C$ is the price of a call with a forward-mode derivative, in plain calls. On the diagonal a sample costs one call. Off
it LSD takes one derivative in $t$, whose value comes along, and $v_{t,t}$ there; ESD $v_{s,s}$ and one derivative
along $(1,v_{s,s})$ in $(s,x)$; PSD three calls. Calls are counted on the network, sample by sample, with and without
tangents, and with which: no time is measured.

What differs from the print: with the stop-gradient on $\nabla X\,v_{s,s}$ alone, the map form of ESD differentiates in
$s$ and in $x$ apart, $1+2C$, since one pass has one graph; forms in velocities differentiate without a graph and call
$v$ once more with one, $2+C$, so that nothing is differentiated twice. Guidance costs one call more per sample, on the
diagonal (`guides="target"`) or off it (`guides="own"`).

Hypotheses: a parametrization $x+(t-s)v_{s,t}(x)$ by one network without dropout, called eagerly. Backward passes are
not counted.

Source: 2505.18825 F.3, F.4, F.6 Algs. 2-4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from flowops import LearnedMap, interpolants
from flowops.methods import Method, get_method
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import Network, batch
from theory_checks.verdicts import Check

I = interpolants.linear()
COUNT = 16
ETAS = [0.0, 0.25, 0.75, 1.0]
PRICES = [1.0, 1.5, 2.7]


class Counted(nn.Module):
    """A network that notes how many samples each call has, and in which of its arguments it is differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.calls = Network(0), list[tuple[int, str]]()

    def forward(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        moved = (name for name, value in (("s", s), ("t", t), ("x", x)) if unpack_dual(value).tangent is not None)
        self.calls.append((len(x), "".join(moved)))
        value: Tensor = self.network(s, t, x)
        return value if label is None else value + (label + (1 if guidance is None else guidance))[:, None]


class Cost(NamedTuple):
    """Calls per sample of the batch."""

    plain: float
    derived: float

    def total(self, price: float) -> float:
        """In plain calls, where one with a derivative costs so many."""
        return self.plain + price * self.derived


def calls(method: Method, network: Counted, n: int = COUNT, **given: Any) -> list[tuple[int, str]]:
    network.calls.clear()
    method(LearnedMap(network), I, *batch(1, n), seed=3, **given)
    return network.calls


def cost(method: Method, n: int = COUNT, **given: Any) -> Cost:
    found = calls(method, Counted(), n, **given)
    plain, derived = (sum(rows for rows, moved in found if bool(moved) == dual) / n for dual in (False, True))
    return Cost(plain, derived)


PRINTED = {  # the rows that cost what the paper says: kind of pass with a derivative, and calls off the diagonal
    ("lsd", "map", True): ("t", Cost(1, 1)),
    ("lsd", "map", False): ("t", Cost(1, 1)),
    ("esd", "map", False): ("sx", Cost(1, 1)),
    ("esd", "velocity", False): ("sx", Cost(1, 1)),
    ("psd-u", "map", True): ("", Cost(3, 0)),
    ("psd-u", "map", False): ("", Cost(3, 0)),
    ("psd-u", "velocity", True): ("", Cost(3, 0)),
    ("psd-m", "velocity", True): ("", Cost(3, 0)),
}
OTHERS = {
    ("esd", "map", True): ("s x", Cost(1, 2)),
    ("esd", "velocity", True): ("sx", Cost(2, 1)),
    ("lsd", "velocity", True): ("t", Cost(2, 1)),
    ("lsd", "velocity", False): ("t", Cost(2, 1)),
}
ROWS = PRINTED | OTHERS


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("row", PRINTED, ids=str)
def test_the_printed_formulas(check: Check, row: tuple[str, str, bool], eta: float) -> None:
    name, form, frozen = row
    found = cost(get_method(name, form=form, stop_gradient=frozen, eta=eta))
    for C in PRICES:
        off = 3 if name.startswith("psd") else 1 + C
        check.vanishes(torch.tensor(found.total(C) - ((1 - eta) * off + eta)), CLOSED_FORM)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_is_called_off_the_diagonal(row: tuple[str, str, bool]) -> None:
    name, form, frozen = row
    kinds, expected = ROWS[row]
    method = get_method(name, form=form, stop_gradient=frozen, eta=0.0)
    assert cost(method) == expected
    moved = [kind for _, kind in calls(method, Counted()) if kind]
    assert sorted(moved) == sorted(kinds.split())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_call_is_larger_than_its_part_of_the_batch(row: tuple[str, str, bool]) -> None:
    name, form, frozen = row
    method = get_method(name, form=form, stop_gradient=frozen, eta=0.75)
    assert {rows for rows, _ in calls(method, Counted())} == {12, 4}
    assert calls(method, Counted()).count((12, "")) == 1  # flow matching: one call and no derivative
    one = get_method(name, form=form, stop_gradient=frozen, eta=0.0)
    assert cost(one, n=1) == ROWS[row][1]


@pytest.mark.parametrize(("guides", "on", "off"), [("target", 1, 0), ("own", 0, 1)])
@pytest.mark.parametrize(("name", "form"), [("lsd", "map"), ("esd", "velocity")])
def test_guidance_costs_a_call_where_it_guides(name: str, form: str, guides: str, on: int, off: int) -> None:
    given: dict[str, Any] = {"labels": torch.arange(COUNT) % 2}
    for eta, more in ((1.0, on), (0.0, off)):
        plain = cost(get_method(name, form=form, eta=eta), **given)
        method = get_method(name, form=form, eta=eta, guides=guides, guidance=(0.5, 3.0), null_label=2)
        assert cost(method, **given) == Cost(plain.plain + more, plain.derived)


def test_negative_control() -> None:
    """A call more, a derivative more and another share of the diagonal are seen."""

    class Twice(Counted):
        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
            return (super().forward(s, t, x) + super().forward(s, t, x.detach())) / 2

    once, twice = (len(calls(get_method("psd-m"), network)) for network in (Counted(), Twice()))
    assert twice == 2 * once
    assert cost(get_method("psd-m", eta=0.75)) != cost(get_method("psd-m", eta=0.5))
    assert cost(get_method("lsd", eta=0.0)) != cost(get_method("lsd", form="velocity", eta=0.0))
