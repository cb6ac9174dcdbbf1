r"""With a balance of gradients both terms of a row pull the last layer of the network alike.

`balance="gradients"` multiplies the diagonal by $\lambda=|\nabla_\omega L_2|/|\nabla_\omega L_1|$, a constant of the
gradient, with $L_1$ the mean of the diagonal over its rows, $L_2$ that of the rest and $\omega$ the last layer: for
every row with a part `eta` the gradient is $\lambda g_1+g_2$ with the two gradients taken apart, whose parts at the
last layer are then of one length. Where a term is missing or has no gradient, $\lambda=1$.

Hypotheses: none; random networks. A factor off by $\delta$ is seen.

Source: 2310.02279 §5 and its code; 2012.09841 (7).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap, interpolants
from flowops.methods import METHODS, Method, get_method
from theory_checks.cases import SINGLE
from theory_checks.gradients import SAME, Network, agree, batch, differ, flat_gradient, random_map
from theory_checks.method_cases import defaults_of
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
NAMES = [name for name, method in METHODS.items() if "balance" in defaults_of(method.row) and not method.joint]
EVERY = pytest.mark.parametrize("name", NAMES)


def apart(name: str, X: LearnedMap, event: tuple[int, ...] = (2,)) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the two terms, each the mean over its own rows, and that of the balanced row."""
    dtype = next(X.parameters()).dtype
    samples, teacher = batch(1, 6, event, dtype), SmoothField(event, seed=6) if METHODS[name].row.teacher else None

    def of(method: Method, only: int | None = None) -> Tensor:
        draw = method.draw(X, I, *samples, teacher=teacher, seed=3)
        if only is not None:
            draw = draw._replace(terms=tuple(k if i == only else None for i, k in enumerate(draw.terms)))
        return flat_gradient(method.evaluate(X, I, draw, teacher=teacher).loss, X)

    plain = get_method(name, balance="terms", eta=0.5)
    return of(plain, 0), of(plain, 1), of(get_method(name, balance="gradients", eta=0.5))


def at_the_end(g: Tensor, X: LearnedMap) -> Tensor:
    """The part of a flat gradient at the last layer, which is the last parameter."""
    assert isinstance(X.network, Network)
    return g[-X.network.last.numel() :]


def test_the_rows_of_two_terms_are_known() -> None:
    assert set(NAMES) >= {
        "ctm",
        "lsd",
        "esd",
        "psd-u",
        "meanflow",
        "imf",
        "alpha-flow",
        "trapezoid",
        "facm",
        "shortcut",
    }


@EVERY
def test_the_gradient_is_that_of_the_terms_with_one_length_at_the_last_layer(check: Check, name: str) -> None:
    X = random_map(1)
    first, last, ours = apart(name, X)
    factor = at_the_end(last, X).norm() / at_the_end(first, X).norm()
    agree(check, ours, factor * first + last, where=f"of {name}")
    check.vanishes(at_the_end(ours - last, X).norm() / at_the_end(last, X).norm() - 1, SAME)
    differ(ours, first + last)


def test_negative_control(check: Check) -> None:
    X = random_map(1)
    first, last, ours = apart("ctm", X)
    factor = at_the_end(last, X).norm() / at_the_end(first, X).norm()
    wrong, half = (((1 + delta) * factor * first + last - ours) / ours.norm() for delta in (1e-3, 5e-4))
    check.sees(wrong, half, SAME)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_term_alone_and_a_batch_of_one_are_as_they_are(check: Check, eta: float) -> None:
    X = random_map(2)
    for n in (1,) if eta == 0.5 else (1, 4):
        plain, balanced = (
            flat_gradient(get_method("lsd", balance=balance, eta=eta)(X, I, *batch(2, n), seed=3).loss, X)
            for balance in ("terms", "gradients")
        )
        agree(check, balanced, plain)


def test_without_a_graph_the_terms_are_as_they_are(check: Check) -> None:
    X, samples = random_map(3), batch(3)
    with torch.no_grad():
        found = [get_method("lsd", balance=b)(X, I, *samples, seed=3).loss for b in ("terms", "gradients")]
    check.vanishes(found[0] - found[1], SAME)


def test_single_precision_and_states_of_any_shape(check: Check) -> None:
    single = random_map(4).float()
    images = random_map(4, (2, 2, 2))
    for X, event, tolerance in ((single, (2,), SINGLE), (images, (2, 2, 2), SAME)):
        first, last, ours = apart("ctm", X, event)
        factor = at_the_end(last, X).norm() / at_the_end(first, X).norm()
        agree(check, ours, factor * first + last, tolerance)
