"""Runs whose images are moved, and whose networks are told how."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap, interpolants
from flowops.data.augmentation import LABELS
from flowops.methods import get_method
from flowops.networks import DDPMpp
from flowops.runs import NetworkConfig, OptimizerConfig
from flowops.training import train
from tests.runs.small import Make, silent
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
NETWORK = NetworkConfig("ddpmpp", channels=4, multipliers=(1,), blocks=1, attention=(), augment=LABELS)


class TestTraining:
    @pytest.mark.slow
    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(self, small: Make) -> None:
        options = {"network": NETWORK, "augment": 0.5, "labels": False}
        constant = OptimizerConfig(schedule="constant")  # which does not know the end
        one, parts = (small(name, "digits", optimizer=constant, **options) for name in ("whole", "parts"))
        train(one, report=silent)
        train(replace(parts, steps=5), report=silent)
        train(parts, resume=True, report=silent)
        assert_same_bits(state_of(one, 8), state_of(parts, 8))

    def test_the_network_is_told_and_samples_are_asked_for_without(self, small: Make) -> None:
        seen: list[Tensor | None] = []
        plain = DDPMpp.forward

        def spy(self: DDPMpp, s: Tensor, t: Tensor, x: Tensor, augment: Tensor | None = None) -> Tensor:
            seen.append(augment)
            return plain(self, s, t, x, augment)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DDPMpp, "forward", spy)
            config = small("told", "digits", network=NETWORK, augment=0.5, labels=False, method="fm", steps=1)
            run = train(config, report=silent)
            assert seen[0] is not None
            assert bool(seen[0].any())
            seen.clear()
            run.sample(2)
            assert seen == [None]

    def test_a_network_that_is_not_told_is_refused(self, small: Make) -> None:
        with pytest.raises(ValueError, match="`augment` must be 0 for a network that takes no condition `augment`"):
            train(small(dataset="digits", augment=0.1), report=silent)

    def test_a_teacher_is_told_if_it_can_be(self) -> None:
        net = DDPMpp((1, 4, 4), channels=4, multipliers=(1,), blocks=1, attention=(), augment=2)
        for parameter in net.parameters():
            parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        X, I = LearnedMap(net), interpolants.linear()
        x0, x1 = torch.randn(2, 4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
        told = torch.ones(4, 2)
        teacher = X.velocity()
        method = get_method("lmd")
        draw = method.draw(X, I, x0, x1, teacher=teacher, augment=told, seed=0)
        one = method.evaluate(X, I, draw, teacher=teacher).loss
        other = method.evaluate(X.given(augment=told), I, draw._replace(terms=tuple(
            None if term is None else term._replace(augment=None) for term in draw.terms
        )), teacher=teacher.given(augment=told)).loss  # fmt: skip
        assert_close(one, other)
        assert one != method.evaluate(X, I, method.draw(X, I, x0, x1, teacher=teacher, seed=0), teacher=teacher).loss


def test_parts_of_a_draw_keep_their_labels() -> None:
    X = get_method("lsd", eta=0.5)
    net = LearnedMap(DDPMpp((1, 4, 4), channels=4, multipliers=(1,), blocks=1, attention=(), augment=2))
    x = torch.zeros(8, 1, 4, 4)
    told = torch.arange(16.0).reshape(8, 2)
    draw = X.draw(net, interpolants.linear(), x, x, augment=told, seed=0)
    for k in range(2):
        for term in draw.part(k, 2).terms:
            assert term is not None
            assert term.augment is not None
            assert torch.equal(term.augment, told[k::2][term.rows])
