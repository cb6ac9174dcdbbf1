"""The parts of a draw: what ranks and micro-batches evaluate adds up to what one machine would."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import Interpolant, interpolants
from flowops.methods import METHODS, Method, MethodResult, get_method
from tests.methods.rows import NAMES, WITH_LABELS, batch, gradient, learned, teacher_for

BATCH = 12
LATENT = Interpolant.from_expressions(alpha="1 - t", beta="t", gamma="t*(1 - t)")
SOLVES = ("reflow", "regression")  # their samples share the steps of an adaptive solve


def losses(method: Method, n: int, interpolant: Interpolant | None = None) -> list[tuple[MethodResult, Tensor]]:
    """The result and the gradient of each of the `n` parts of one draw, by one map."""
    X, teacher = learned(), teacher_for(method)
    x0, x1 = batch(BATCH)
    I = interpolant or interpolants.linear()
    labels = torch.arange(BATCH) % WITH_LABELS
    draw = method.draw(X, I, x0, x1, teacher=teacher, labels=labels, step=7, seed=5)
    results = [method.evaluate(X, I, draw.part(k, n), teacher=teacher) for k in range(n)]
    return [(result, gradient(result.loss, X)) for result in results]


@pytest.mark.parametrize("n", [2, 3, 12])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "contrastive-fm"])
def test_losses_and_gradients_of_the_parts_average_to_those_of_the_whole(name: str, n: int) -> None:
    method = get_method(name, label_dropout=0.3)
    (whole, slope), parts = losses(method, 1)[0], losses(method, n)
    rtol, atol = (1e-6, 1e-8) if name in SOLVES else (1e-12, 1e-12)
    assert_close(torch.stack([part.loss for part, _ in parts]).mean(), whole.loss, rtol=rtol, atol=atol)
    assert_close(torch.stack([g for _, g in parts]).mean(0), slope, rtol=rtol, atol=atol)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_part_holds_every_nth_sample_with_its_own_times(n: int) -> None:
    method = get_method("lsd", eta=0.5)
    whole = losses(method, 1, LATENT)[0][0]
    for k, (part, _) in enumerate(losses(method, n, LATENT)):
        for name in ("per_sample", "s", "t"):
            assert_close(getattr(part, name), getattr(whole, name)[k::n], rtol=1e-12, atol=1e-12)


def test_a_part_may_lack_a_term() -> None:
    parts = [part for part, _ in losses(get_method("lsd", eta=1 / BATCH), 4)]
    assert [set(part.terms) for part in parts] == [{"diagonal", "lagrangian"}, *[{"lagrangian"}] * 3]
    assert all(len(part.per_sample) == BATCH // 4 for part in parts)


def test_contrast_stays_within_a_part() -> None:
    method = METHODS["contrastive-fm"]
    (whole, _), (part, _), *_ = [*losses(method, 1), *losses(method, 2)]
    assert_close(part.per_term["diagonal"], whole.per_term["diagonal"][::2])
    assert not torch.allclose(part.per_term["contrast"], whole.per_term["contrast"][::2])


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [
        (0, 5, "`n` must divide the batch of 12 samples, got 5"),
        (0, 0, "`n` must divide the batch of 12 samples, got 0"),
        (3, 3, "`k` must be the number of a part, from 0 to 2, got 3"),
        (-1, 3, "`k` must be the number of a part"),
    ],
)
def test_parts_that_do_not_exist_are_refused(k: int, n: int, message: str) -> None:
    x0, x1 = batch(BATCH)
    draw = METHODS["fm"].draw(learned(), interpolants.linear(), x0, x1, seed=1)
    with pytest.raises(ValueError, match=message):
        draw.part(k, n)
