"""The batch of a step is a function of the seed and the step."""

from __future__ import annotations

import pytest
import torch

from flowops import LearnedMap
from flowops.data import Pairs
from flowops.runs import TrainConfig
from flowops.runs.assembly import Assembly, assemble, dataset_of
from flowops.runs.settings import completed
from flowops.training.joint_batch import JointBatches, base_samples
from flowops.training.loss_module import LossModule

CPU = torch.device("cpu")


def batches(config: TrainConfig, start: int = 0) -> JointBatches:
    """The batches of a run from a step on."""
    data = dataset_of(config)
    config = completed(config, data.defaults, data.event)
    assembly: Assembly = assemble(config, CPU, dataset=data)
    module = LossModule(LearnedMap(assembly.network), assembly.method, assembly.interpolant)
    return JointBatches(config.batch or 0, config.seed, assembly, module, CPU, start)


@pytest.mark.parametrize("coupling", ["independent", "optimal-transport", "sinkhorn"])
def test_a_step_is_the_same_wherever_the_run_starts(coupling: str) -> None:
    config = TrainConfig("digits", batch=12, coupling=coupling)
    first = batches(config)
    later = batches(config, 3)
    try:
        draws = [next(first) for _ in range(5)]
        for k in (3, 4):
            again = next(later)
            for a, b in zip(draws[k].terms, again.terms, strict=True):
                assert a is not None
                assert b is not None
                assert a.rows == b.rows
                for x, y in ((a.s, b.s), (a.t, b.t), (a.x0, b.x0), (a.x1, b.x1), (a.labels, b.labels)):
                    assert x is not None
                    assert torch.equal(x, y)  # type: ignore[arg-type]
        assert not torch.equal(draws[0].terms[0].x0, draws[1].terms[0].x0)  # type: ignore[union-attr]
    finally:
        first.close()
        later.close()


def test_curricula_follow_the_step() -> None:
    config = TrainConfig("checkerboard", batch=8, method="alpha-flow", options=("anneal=0,10",))
    found = batches(config)
    try:
        alphas = [next(found).alpha for _ in range(11)]
    finally:
        found.close()
    values = [0.0 if alpha is None else float(alpha) for alpha in alphas]
    assert values[0] == 1.0
    assert values[10] == 0.0
    assert values == sorted(values, reverse=True)
    assert 0 < values[5] < 1


def test_transport_stays_within_classes() -> None:
    config = TrainConfig("digits", batch=40, coupling="optimal-transport", label_dropout=0.0, method="fm")
    plain = TrainConfig("digits", batch=40, label_dropout=0.0, method="fm")
    pairs, independent = (batches(c) for c in (config, plain))
    try:
        (coupled,), (before,) = next(pairs).terms, next(independent).terms
    finally:
        pairs.close()
        independent.close()
    assert coupled is not None
    assert before is not None
    assert torch.equal(coupled.x0, before.x0)
    assert torch.equal(coupled.labels, before.labels)  # type: ignore[arg-type]
    cost, independent_cost = ((d.x0 - d.x1).square().sum() for d in (coupled, before))
    assert cost < independent_cost
    rows = {tuple(x.flatten().tolist()): int(c) for x, c in zip(before.x1, before.labels, strict=True)}  # type: ignore[arg-type]
    assert all(
        rows[tuple(x.flatten().tolist())] == int(c)
        for x, c in zip(coupled.x1, coupled.labels, strict=True)  # type: ignore[arg-type]
    )


def test_base_samples_are_standard_normal_and_differ_by_step_and_seed() -> None:
    like = torch.empty(2000, 3, 4)
    x = base_samples(like, seed=0, step=5)
    assert abs(float(x.mean())) < 0.03
    assert abs(float(x.std()) - 1) < 0.03
    assert not torch.equal(x, base_samples(like, seed=0, step=6))
    assert not torch.equal(x, base_samples(like, seed=1, step=5))
    assert torch.equal(x, base_samples(like, seed=0, step=5))


def test_pairs_keep_their_own_base() -> None:
    config = TrainConfig(f"{__name__}:pairs", batch=8, method="fm")
    found = batches(config)
    try:
        (term,) = next(found).terms
    finally:
        found.close()
    assert term is not None
    torch.testing.assert_close(term.x1, term.x0 + 1)


def pairs() -> Pairs:
    """A data set of pairs."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x0, x0 + 1)
