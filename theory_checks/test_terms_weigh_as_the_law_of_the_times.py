r"""Under the law of the times the terms of self-distillation weigh eta : 1 - eta; its algorithms print 1 : 1.

The expectation (20) over $p_{s,t}=\eta U_d+(1-\eta)U_{od}$ is $\eta\,\mathbb E_dL_b+(1-\eta)\,\mathbb E_{od}L_D$, and a
batch of $n$ with $n_d$ rows on the diagonal estimates it by the mean over its rows,
$\tfrac{n_d}n\bar L_b+\tfrac{n-n_d}n\bar L_D$: the rows of the library, $n_d$ the nearest number to $\eta n$. Algorithms
1 to 4 print $\bar L_b+\bar L_D$, each the mean of its own rows. The gradients have one direction at $\eta=\tfrac12$,
where the norms are as $1:2$, and at no other; the row with the weight $n/n_d$ at $s=t$ and $n/(n-n_d)$ beside it is the
algorithm as printed, and so is `balance="terms"`. The minimizer is the same, since there both terms are least.

Hypotheses: none; weights are measured as the coefficients by which the gradient of a row is a combination of those of
its two terms, each written down from a random network. Times by moments of 100,000 draws, within 6 standard errors
(false alarms: $2\cdot10^{-9}$ each).

Source: 2505.18825 (11), (18), (20), Algs. 1-4.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, interpolants
from flowops.methods import Draw, Method, TermDraw, get_method
from theory_checks.by_hand import FORMULAS, Place, flow_matching, squares
from theory_checks.cases import SINGLE
from theory_checks.gradients import SAME, agree, apart, batch, differ, flat_gradient, gradient, random_map
from theory_checks.verdicts import Check

I = interpolants.linear()
COUNT = 16
ROWS = [("lsd", "map"), ("esd", "velocity"), ("psd-u", "velocity"), ("psd-m", "map")]
EVERY = pytest.mark.parametrize(("name", "form"), ROWS, ids=[f"{name} {form}" for name, form in ROWS])
ETAS = [0.25, 0.5, 0.75]


def parts(name: str, form: str, X: LearnedMap, draw: Draw) -> tuple[Tensor, Tensor]:
    """The gradients of the mean of each term over its own rows."""
    network = FlowMap.from_function(X.network)

    def gradient_of(term: TermDraw | None, last: bool) -> Tensor:
        assert term is not None
        sides = (FORMULAS[name, form] if last else flow_matching)(Place(network, network, I, None, term))
        return flat_gradient(squares(sides).mean(), X)

    diagonal, rest = draw.terms
    return gradient_of(diagonal, False), gradient_of(rest, True)


def weights(g: Tensor, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The coefficients of the terms in a gradient, and what is left of it."""
    basis = torch.stack(parts, 1)
    found = torch.linalg.lstsq(basis, g[:, None]).solution[:, 0]
    return found, (basis @ found - g).norm() / g.norm()


def setting(name: str, form: str, **options: Any) -> tuple[Method, LearnedMap, Draw]:
    method, X = get_method(name, form=form, **options), random_map(1)
    return method, X, method.draw(X, I, *batch(1, COUNT), seed=3)


@pytest.mark.parametrize("eta", ETAS)
@EVERY
def test_a_row_weighs_its_terms_as_the_law(check: Check, name: str, form: str, eta: float) -> None:
    method, X, draw = setting(name, form, eta=eta)
    found, rest = weights(flat_gradient(method.evaluate(X, I, draw).loss, X), parts(name, form, X, draw))
    check.vanishes(found - torch.tensor([eta, 1 - eta], dtype=torch.float64), SAME)
    check.vanishes(rest, SAME)


@pytest.mark.parametrize("eta", ETAS)
@EVERY
def test_the_printed_algorithm_weighs_them_alike_and_is_a_row_too(
    check: Check, name: str, form: str, eta: float
) -> None:
    method, X, draw = setting(name, form, eta=eta)
    of_terms = parts(name, form, X, draw)
    printed = of_terms[0] + of_terms[1]
    weighted = method.with_options(weight=lambda s, t: torch.where(s == t, 1 / eta, torch.full_like(s, 1 / (1 - eta))))
    agree(check, flat_gradient(weighted.evaluate(X, I, draw).loss, X), printed)
    method, X, draw = setting(name, form, eta=eta, balance="terms")
    agree(check, flat_gradient(method.evaluate(X, I, draw).loss, X), printed)
    method, X, draw = setting(name, form, eta=eta, balance="rows")
    ours = flat_gradient(method.evaluate(X, I, draw).loss, X)
    if eta == 0.5:
        agree(check, 2 * ours, printed)
    else:
        assert apart(ours, printed)[0] > 1e-3  # in direction, not only in size


@pytest.mark.parametrize("eta", [0.0, 1.0])
@EVERY
def test_one_term_alone_has_the_whole_weight(check: Check, name: str, form: str, eta: float) -> None:
    method, X, draw = setting(name, form, eta=eta)
    (k,) = [term for term in draw.terms if term is not None]
    network = FlowMap.from_function(X.network)
    formula = FORMULAS[name, form] if eta == 0 else flow_matching
    mean = squares(formula(Place(network, network, I, None, k))).mean()
    agree(check, flat_gradient(method.evaluate(X, I, draw).loss, X), flat_gradient(mean, X))


@pytest.mark.parametrize(("eta", "n", "first"), [(0.75, 16, 12), (0.75, 2, 1), (0.6, 7, 4), (0.01, 5, 1)])
def test_the_share_of_a_batch_that_it_does_not_divide(check: Check, eta: float, n: int, first: int) -> None:
    """A share of whole rows, at least one of each kind: the ratio of the weights is theirs."""
    X, samples = random_map(2), batch(2, n)
    result = get_method("lsd", eta=eta)(X, I, *samples, seed=3)
    diagonal = result.per_term["diagonal"]
    assert int((diagonal > 0).sum()) == first
    check.vanishes(result.terms["diagonal"] - first / n * diagonal[:first].mean(), SAME)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_loss_of_terms_is_the_mean_of_those_of_its_parts(check: Check, parts: int) -> None:
    """Also where the parts hold other shares of the diagonal than the batch: the factors are those of the batch."""
    X, samples = random_map(2), batch(2, 12)
    method = get_method("lsd", eta=0.42, balance="terms")
    draw = method.draw(X, I, *samples, seed=3)
    whole = flat_gradient(method.evaluate(X, I, draw).loss, X)
    found = [flat_gradient(method.evaluate(X, I, draw.part(k, parts)).loss, X) for k in range(parts)]
    agree(check, torch.stack(found).mean(0), whole)
    for k in range(parts):
        rows = tuple(x[k::parts] for x in samples)
        own = method.draw(X, I, *rows, seed=3, part=(k, parts))
        agree(check, flat_gradient(method.evaluate(X, I, own).loss, X), found[k])


def test_batches_of_one_weigh_alike_on_average(check: Check) -> None:
    r"""One sample sees one term, with the chance $\eta$: the factors $1/\eta$ and $1/(1-\eta)$ make up for it."""
    X, samples, eta = random_map(2), batch(2, 1), 0.8
    method = get_method("lsd", eta=eta, balance="terms")
    seen: dict[int, float] = {}
    for seed in range(40):
        draw = method.draw(X, I, *samples, seed=seed)
        assert draw.factors is not None
        seen |= {k: draw.factors[k] for k, term in enumerate(draw.terms) if term is not None}
    expected = torch.tensor([eta * seen[0], (1 - eta) * seen[1]], dtype=torch.float64)
    check.vanishes(expected - 1, SAME)


def test_a_draw_has_the_law_of_the_times(check: Check) -> None:
    x = torch.zeros(100_000, 1, dtype=torch.float64)
    diagonal, rest = get_method("lsd").draw(random_map(0, (1,)), I, x, x, seed=7).terms
    assert diagonal is not None
    assert rest is not None
    assert len(diagonal.t) == 75_000
    assert torch.equal(diagonal.s, diagonal.t)
    assert (rest.s <= rest.t).all()
    moments = [(diagonal.t, 1 / 2), (diagonal.t**2, 1 / 3), (rest.s, 1 / 3), (rest.t, 2 / 3), (rest.s * rest.t, 1 / 4)]
    for values, mean in moments:
        check.at_most(float((values.mean() - mean).abs() / (values.std() / len(values) ** 0.5)), 6.0)


def test_single_precision_and_states_of_any_shape(check: Check) -> None:
    method, event = get_method("esd", eta=0.75), (2, 2, 2)
    double, samples = random_map(3, event), batch(3, 8, event)
    draw = method.draw(double, I, *samples, seed=3)
    found, _ = weights(gradient(method, double, I, samples), parts("esd", "map", double, draw))
    check.vanishes(found - torch.tensor([0.75, 0.25], dtype=torch.float64), SAME)
    single, floats = random_map(3).float(), batch(3, 8, dtype=torch.float32)
    draw = method.draw(single, I, *floats, seed=3)
    found, _ = weights(gradient(method, single, I, floats), parts("esd", "map", single, draw))
    check.vanishes(found - torch.tensor([0.75, 0.25]), SINGLE)


def test_negative_control(check: Check) -> None:
    r"""A weight off by $\delta$ on one term is seen; so is the printed algorithm in place of the law."""
    method, X, draw = setting("lsd", "map", eta=0.75)
    of_terms = parts("lsd", "map", X, draw)
    ours = flat_gradient(method.evaluate(X, I, draw).loss, X)
    wrong, half = ((0.75 + d) * of_terms[0] + 0.25 * of_terms[1] - ours for d in (1e-3, 5e-4))
    check.sees(wrong, half, SAME)
    differ(ours, of_terms[0] + of_terms[1])
