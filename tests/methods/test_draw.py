"""The parts of a draw: what ranks and micro-batches evaluate adds up to what one machine would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, Interpolant, interpolants
from flowops.maps import LearnedJointMap
from flowops.methods import METHODS, Draw, Method, MethodResult, get_method
from tests.methods.rows import NAMES, WITH_LABELS, Network, batch, gradient, learned, teacher_for

BATCH = 12
LATENT = Interpolant.from_expressions(alpha="1 - t", beta="t", gamma="t*(1 - t)")
SOLVES = ("reflow", "regression")  # their samples share the steps of an adaptive solve

NOISE_LEVELS = ("ict", "ect", "tcm")  # laws that are stated in alpha/beta, and know no latent


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
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("contrastive-fm", "imm")])
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


@pytest.mark.parametrize(("n", "whole_groups"), [(3, True), (2, False)])
def test_groups_of_particles_stay_together_in_parts_that_divide_their_number(n: int, whole_groups: bool) -> None:
    method = get_method("imm", particles=4, epsilon=0.5)
    (whole, slope), parts = losses(method, 1)[0], losses(method, n)
    assert whole.s.unique().numel() == BATCH // 4
    found = torch.stack([part.loss for part, _ in parts]).mean(), torch.stack([g for _, g in parts]).mean(0)
    assert torch.allclose(found[0], whole.loss, rtol=1e-12) == whole_groups
    assert torch.allclose(found[1], slope, rtol=1e-9, atol=1e-12) == whole_groups


class Guided(Network):
    """One that takes a scale of guidance too."""

    def forward(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        return super().forward(s, t, x, label)


def shares(method: Method, X: FlowMap, n: int, interpolant: Interpolant) -> Iterator[tuple[Draw, Draw]]:
    """What each of `n` processes draws for its rows, and what they are of the joint draw."""
    (x0, x1), labels, teacher = batch(BATCH), torch.arange(BATCH) % WITH_LABELS, teacher_for(method)
    average = X if method.options.ema_teacher else None

    def drawn(part: tuple[int, int]) -> Draw:
        k, n = part
        return method.draw(
            X, interpolant, x0[k::n], x1[k::n], teacher=teacher, average=average, labels=labels[k::n], step=7, seed=5,
            part=part,
        )  # fmt: skip

    joint = drawn((0, 1))
    return ((drawn((k, n)), joint.part(k, n)) for k in range(n))


def assert_equal(own: Draw, joint: Draw) -> None:
    assert (own.size, own.seed, own.warmup, own.alpha) == (joint.size, joint.seed, joint.warmup, joint.alpha)
    for a, b in zip(own.terms, joint.terms, strict=True):
        assert (a is None) == (b is None)
        if a is None or b is None:
            continue
        assert a.rows == b.rows
        for mine, whole in zip(a[1:], b[1:], strict=True):
            assert (mine is None) == (whole is None)
            assert mine is None or whole is None or torch.equal(mine, whole)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("name", NAMES)
def test_a_process_draws_its_rows_of_the_joint_draw_bit_for_bit(name: str, n: int) -> None:
    method, latent = get_method(name, label_dropout=0.3), name not in NOISE_LEVELS
    for own, joint in shares(method, learned(), n, LATENT if latent else interpolants.linear()):
        assert_equal(own, joint)
        assert all(term is None or (term.z is not None) == latent for term in own.terms)


@pytest.mark.parametrize("name", [name for name in NAMES if any(t.guided and t.velocity for t in METHODS[name].terms)])
def test_so_are_the_scales_of_guidance(name: str) -> None:
    method = get_method(name, label_dropout=0.3, guidance=(1.0, 4.0))
    for own, joint in shares(method, LearnedJointMap(Guided((2,))), 4, interpolants.linear()):
        assert_equal(own, joint)
        for term in own.terms:
            if term is not None:
                assert term.guidance is not None
                assert torch.equal(term.guidance == 1, ~term.kept)


def test_a_part_that_no_process_has_is_refused() -> None:
    x0, x1 = batch(BATCH)
    with pytest.raises(ValueError, match="The number of a part must lie between 0 and 1, got 2"):
        METHODS["fm"].draw(learned(), interpolants.linear(), x0, x1, part=(2, 2))


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [
        (0, 5, "The number of parts must divide the batch of 12 samples, got 5"),
        (0, 0, "The number of parts must divide the batch of 12 samples, got 0"),
        (3, 3, "The number of a part must lie between 0 and 2, got 3"),
        (-1, 3, "The number of a part must lie between 0 and 2, got -1"),
    ],
)
def test_parts_that_do_not_exist_are_refused(k: int, n: int, message: str) -> None:
    x0, x1 = batch(BATCH)
    draw = METHODS["fm"].draw(learned(), interpolants.linear(), x0, x1, seed=1)
    with pytest.raises(ValueError, match=message):
        draw.part(k, n)
