"""The batch of a step is a function of the seed and the step, of which every process has its rows."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap
from flowops.couplings import Coupling, Samples
from flowops.data import Batch, Pairs
from flowops.runs import TrainConfig
from flowops.runs.assembly import Assembly, assemble, completed, dataset_of
from flowops.training.joint_batch import Coupled, JointBatches, base
from flowops.training.loss_module import LossModule

CPU = torch.device("cpu")


def batches(
    config: TrainConfig, start: int = 0, part: tuple[int, int] = (0, 1), device: torch.device = CPU
) -> JointBatches:
    """The batches of a run from a step on, for one of its processes."""
    data = dataset_of(config)
    config = completed(config, data.defaults, data.event)
    assembly: Assembly = assemble(config, device, dataset=data)
    module = LossModule(LearnedMap(assembly.network), assembly.method, assembly.interpolant.to(device))
    return JointBatches(config.batch or 0, config.seed, assembly, module, device, start, part)


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
    like = Batch(None, torch.empty(2000, 3, 4), None)
    x = base(like, seed=0, step=5)
    assert abs(float(x.mean())) < 0.03
    assert abs(float(x.std()) - 1) < 0.03
    assert not torch.equal(x, base(like, seed=0, step=6))
    assert not torch.equal(x, base(like, seed=1, step=5))
    assert torch.equal(x, base(like, seed=0, step=5))


SHARED = {
    "plain": TrainConfig("checkerboard", batch=48),
    "labels and guidance": TrainConfig("digits", batch=48, options=("guidance=1,4",)),
    "latents": TrainConfig("moons", batch=48, alpha="1-t", beta="t", gamma="t*(1-t)", label_dropout=0.3),
    "transport": TrainConfig("digits", batch=48, coupling="optimal-transport"),
    "blocks": TrainConfig("digits", batch=48, coupling="optimal-transport", coupling_options=("block=16",)),
    "sinkhorn": TrainConfig("gaussians", batch=48, coupling="sinkhorn"),
    "exact shares of times": TrainConfig("checkerboard", batch=48, method="meanflow", options=("eta=0.3",)),
}


@pytest.mark.parametrize("count", [2, 3, 8, 16])
@pytest.mark.parametrize("config", SHARED.values(), ids=SHARED)
def test_every_process_has_its_rows_of_the_joint_batch_bit_for_bit(config: TrainConfig, count: int) -> None:
    found = [batches(config, start=2), *(batches(config, start=2, part=(k, count)) for k in range(count))]
    try:
        for _ in range(2):
            joint, *shares = [next(each) for each in found]
            for k, own in enumerate(shares):
                whole = joint.part(k, count)
                assert (own.size, own.seed) == (48 // count, joint.seed)
                for a, b in zip(own.terms, whole.terms, strict=True):
                    assert (a is None) == (b is None)
                    pairs = [] if a is None or b is None else zip(a, b, strict=True)
                    assert all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)  # type: ignore[arg-type]
    finally:
        for each in found:
            each.close()


class Held(Coupling):
    """Notes the thread that it is solved in, after it was let go."""

    def __init__(self) -> None:
        self.free, self.threads = threading.Event(), list[int]()

    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor:
        assert self.free.wait(60)
        self.threads.append(threading.get_ident())
        return torch.randperm(len(samples.x0), generator=generator)


def test_a_coupling_is_solved_ahead_of_time_in_a_thread_of_its_own() -> None:
    found = batches(TrainConfig("checkerboard", batch=8, coupling=f"{__name__}:Held"), part=(1, 2))
    try:
        assert isinstance(found.prepare, Coupled)
        coupling = found.prepare.coupling
        assert isinstance(coupling, Held)
        threading.Timer(1.0, coupling.free.set).start()
        next(found)
        assert found.waited > 0.1  # until it was let go
        end = time.monotonic() + 60
        while len(coupling.threads) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(coupling.threads) >= 2  # the next one was solved although nobody asked for it
        assert threading.get_ident() not in coupling.threads
    finally:
        found.close()


def test_the_rows_of_other_processes_are_let_go_of() -> None:
    found = batches(SHARED["transport"], part=(1, 4))
    try:
        term = next(term for term in next(found).terms if term is not None)
    finally:
        found.close()
    assert term.x1.untyped_storage().nbytes() == 12 * 64 * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("coupling", ["optimal-transport", "sinkhorn"])
def test_a_coupling_on_a_device_waits_for_nothing_that_trains(coupling: str) -> None:
    config = TrainConfig("digits", batch=48, coupling=coupling)
    cuda = torch.device("cuda", 0)
    found, again = batches(config, device=cuda), batches(config, part=(1, 2), device=cuda)
    try:
        joint = next(found)
        torch.cuda._sleep(2_000_000_000)  # about a second
        busy = torch.cuda.Event()
        busy.record()
        own = next(again)
        assert not busy.query()
        for a, b in zip(own.terms, joint.part(1, 2).terms, strict=True):
            assert a is not None
            assert b is not None
            assert torch.equal(a.x0, b.x0)
            assert torch.equal(a.x1, b.x1)
    finally:
        found.close()
        again.close()


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
