"""After any history of a run's folder it loads or is refused by name, and never has other weights than were saved.

A history is made of training, signals, sudden death, a full disk, damaged and lost files, data that move, and reading.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from torch import Tensor

from flowops.runs import LogConfig, NetworkConfig, OptimizerConfig, Run, TrainConfig, posthoc, snapshots
from flowops.runs.folder import RunFolder, candidates
from flowops.runs.saving import save_checkpoint
from flowops.sampling import export_sampler
from flowops.training import Interrupted, StepReport, train
from tests.runs.disk import Died, Disk, Fault
from tests.runs.small import silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
REFUSALS = (OSError, ValueError)  # with one sentence
NETWORK = NetworkConfig("mlp", width=4, depth=1, octaves=1)
LOG = LogConfig(telemetry_every=0, tensorboard=False, progress=False, keep=2)
PARTS = 97
PLACES = st.sampled_from(range(PARTS))  # of a file among others, or within a file
WAYS = st.sampled_from(["flip", "flip", "cut", "empty", "delete"])
STARTS = st.integers(1, 40) | st.integers(41, 400)  # of what goes wrong, in things that are done to files


def bits(weights: Any) -> bytes:
    """All tensors, as they lie in memory."""
    return b"".join(weights[name].detach().numpy().tobytes() for name in sorted(weights))


class Histories(RuleBasedStateMachine):
    """A folder, and what must be true of it.

    A rule that does not apply does nothing: which rules are drawn must not depend on what is in the files, among it
    seconds, or the same draws are not the same history.
    """

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.out, self.data = self.place / "run", self.place / "data.npz"
        self.steps, self.rate = 0, 1e-3
        self.averages: tuple[float, ...] = (0.5,)
        self.varied = False  # whether steps may have been done again under other settings
        self.saved: dict[int, set[bytes]] = defaultdict(set)  # all weights and averages, by step, that were to be saved
        self.trained: dict[int, set[bytes]] = defaultdict(set)  # the weights alone
        self.whole: dict[tuple[int, str], bytes] = {}  # files of checkpoints, by step and name, as they were written
        self.damaged: dict[Path, bytes | None] = {}  # settings and facts that were damaged, and what they are now
        points = np.random.default_rng(0).normal(size=(2, 8, 2)).astype(np.float32)
        np.savez(self.data, x0=points[0], x1=points[1])
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr("flowops.training.engine.save_checkpoint", self.recorded)
        self.patched.setattr("flowops.training.start.provenance", lambda _: {})  # which asks git
        self.patched.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)
        self.patched.setattr("flowops.training.record.POINTS", 4)
        self.patched.setattr("flowops.training.record.save_comparison", lambda *_: None)

    def teardown(self) -> None:
        self.patched.undo()
        shutil.rmtree(self.place)

    # ------------------------------------------------------------------------------------------------ what is known

    def recorded(self, folder: Path, step: int, *, averages: dict[str, Any], weights: Any, **rest: Any) -> None:
        """Save a checkpoint, and know it."""
        self.saved[step] |= {bits(weights), *map(bits, averages.values())}
        self.trained[step].add(bits(weights))
        save_checkpoint(folder, step, averages=averages, weights=weights, **rest)
        self.whole |= {(step, file.name): file.read_bytes() for file in (folder / str(step)).iterdir()}

    def intact(self, *beginnings: str) -> set[int]:
        """The steps of which all files whose names begin so are as they were written."""
        found = set()
        for step, path in candidates(self.out / "checkpoints").items():
            files = {path / name: held for (n, name), held in self.whole.items() if n == step}
            files = {file: held for file, held in files.items() if file.name.startswith(beginnings)}
            if files and all(file.is_file() and file.read_bytes() == held for file, held in files.items()):
                found.add(step)
        return found

    def readable(self) -> set[int]:
        """The steps of which the average that samples come from, or all averages, are as they were written."""
        if not self.settled():
            return set()
        first = (
            f"ema-{(RunFolder(self.out).settings().averages or ())[0]:g}."  # which was perhaps added after some steps
        )
        holding = {step for step, name in self.whole if name.startswith(first)}
        return self.intact("ema-", "manifest") | (self.intact(first, "manifest") & holding)

    def settled(self, *names: str) -> bool:
        """Whether these files, or those that reading needs, are there, and not those that were damaged."""
        files = [self.out / name for name in names or ("config.yaml", "run.json")]
        return all(file.is_file() and file.read_bytes() != self.damaged.get(file) for file in files)

    def resumable(self) -> bool:
        """Whether the run must go on, or begin: nothing that it needs was damaged or lost."""
        if not candidates(self.out / "checkpoints"):
            return not any(file.parent == self.out for file in self.damaged)
        return self.settled("config.yaml", "run.json", "metrics.csv") and bool(self.intact(""))

    def config(self, more: int) -> TrainConfig:
        return TrainConfig(
            f"pairs:{self.data}", method="fm", steps=self.steps + more, batch=4, averages=self.averages, power=(0.1,),
            checkpoint_every=2, network=NETWORK, log=LOG, out=str(self.out), optimizer=OptimizerConfig(rate=self.rate),
        )  # fmt: skip

    def refused(self, error: BaseException) -> None:
        """A refusal is one sentence, which says what it is about."""
        text = str(error)
        assert str(self.place) in text or "`" in text, repr(error)
        assert "\n" not in text, text
        assert not text.startswith("[Errno"), text

    def go(self, config: TrainConfig, fault: Fault = "none", at: int | None = None, **options: Any) -> bool:
        """Train to the end, or not; whether it came there."""
        run: Run | None = None
        try:
            with Disk(self.out, at, fault).mounted():
                run = train(config, resume=True, report=silent, **options)
        except (*REFUSALS, Interrupted) as error:
            self.refused(error)
            return False
        except Died:
            pass
        if run is None:
            gc.collect()  # which closes what the process had open, as the system does
            return False
        assert run.step == config.steps or (config.steps or 0) <= max(self.whole)[0]
        self.steps = run.step
        return True

    # -------------------------------------------------------------------------------------------------------- rules

    @initialize(at=st.none() | STARTS)
    def begin(self, at: int | None) -> None:
        """The first start, at which the process may die."""
        self.go(self.config(4), "dies", at)

    @rule(more=st.integers(1, 4))
    def train(self, more: int) -> None:
        """Nothing goes wrong: a run that was not damaged comes to its end, one without a whole checkpoint does not."""
        must, steps = self.resumable(), candidates(self.out / "checkpoints").keys()
        must_not = bool(steps) and not self.intact("") and steps <= {step for step, _ in self.whole}
        went = self.go(self.config(more))
        assert went or not must
        assert not (went and must_not)

    @rule(number=st.sampled_from([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]), after=st.integers(1, 3))
    def stop(self, number: signal.Signals, after: int) -> None:
        """A signal in the midst of it."""

        def press(report: StepReport) -> None:
            if report.step == self.steps + after:
                os.kill(os.getpid(), number)

        self.go(self.config(5), callbacks=[press])

    @rule(at=STARTS)
    def kill(self, at: int) -> None:
        """The process dies at some place."""
        self.go(self.config(3), "dies", at)

    @rule(at=STARTS)
    def fill(self, at: int) -> None:
        """The disk is full from some place on."""
        self.go(self.config(3), "full", at)

    @rule(at=STARTS)
    def fail(self, at: int) -> None:
        """The disk fails once."""
        self.go(self.config(3), "fails", at)

    @rule(rate=st.sampled_from([1e-3, 1e-4]), averages=st.sampled_from([(0.5,), (0.9, 0.5), (0.9,)]))
    def change(self, rate: float, averages: tuple[float, ...]) -> None:
        """Go on under other settings."""
        if not self.steps:
            return
        self.rate, self.averages, self.varied = rate, averages, True
        self.go(self.config(2))

    @rule(newest=st.sampled_from([1, 1, 2]), which=PLACES, way=WAYS, where=PLACES)
    def spoil(self, newest: int, which: int, way: str, where: int) -> None:
        """A file of the newest checkpoint, or of the newest two, is damaged or lost."""
        for path in list(candidates(self.out / "checkpoints").values())[:newest]:
            if files := sorted(path.iterdir()):
                self.damage(files[which % len(files)], way, where)

    @rule(which=PLACES, way=WAYS, where=PLACES)
    def corrupt(self, which: int, way: str, where: int) -> None:
        """Any file is damaged or lost."""
        if files := sorted(path for path in self.out.rglob("*") if path.is_file()):
            self.damage(files[which % len(files)], way, where)

    def damage(self, file: Path, way: str, where: int) -> None:
        """Flip a bit, cut, empty or delete."""
        content = file.read_bytes()
        if way == "delete" or not content:
            file.unlink()
        else:
            where = where * len(content) // PARTS
            flipped = content[:where] + bytes([content[where] ^ 1 << where % 8]) + content[where + 1 :]
            file.write_bytes({"flip": flipped, "cut": content[:where], "empty": b""}[way])
        self.damaged[file] = file.read_bytes() if file.exists() else None
        if file.suffix in (".yaml", ".json"):
            self.varied = True

    @rule(which=PLACES)
    def prune(self, which: int) -> None:
        """Someone deletes a checkpoint to make room."""
        if found := sorted((self.out / "checkpoints").glob("*")):
            shutil.rmtree(found[which % len(found)])

    @rule()
    def begin_again(self) -> None:
        """Someone gives up what cannot go on."""
        if not self.damaged or self.resumable():
            return
        shutil.rmtree(self.out)
        self.steps, self.damaged, self.whole = 0, {}, {}
        assert self.go(self.config(2))

    @rule()
    def move(self) -> None:
        """The data move; a run that looks for them where they were is refused."""
        before, self.data = self.data, self.place / f"{len(self.data.stem)}{self.data.name}"
        before.rename(self.data)
        assert not self.go(replace(self.config(2), dataset=f"pairs:{before}"))

    @rule()
    def other_data(self) -> None:
        """Other data at the place of the old ones are refused."""
        if not self.readable():
            return
        kept = self.data.read_bytes()
        np.savez(self.data, x0=np.zeros((8, 2), np.float32), x1=np.ones((8, 2), np.float32))
        known = {step: set(found) for step, found in self.trained.items()}
        assert not self.go(self.config(2))
        assert known == self.trained
        self.data.write_bytes(kept)

    @rule()
    def average(self) -> None:
        """Average the weights anew, from what was saved."""
        try:
            found = snapshots(self.out, silent)
            weights = posthoc(found, 0.15, found[-1].step)
        except REFUSALS as error:
            self.refused(error)
        else:
            assert all(bits(each.state) in self.saved[each.step] for each in found)
            assert all(bool(value.isfinite().all()) for value in weights.values())

    @rule()
    def export(self) -> None:
        """Write the sampler as a program; the one that compares it with the sampler."""
        if self.exports and (run := self.read()) is not None:
            self.exports -= 1
            export_sampler(run.X, [0.0, 1.0], run.event, self.place / "x.pt2", labels=False, guidance=False)

    exports = 0  # in a history, since they take long

    def read(self) -> Run | None:
        """The run, if it can be read."""
        told: list[str] = []
        try:
            run = Run.load(self.out, report=told.append)
        except REFUSALS as error:
            self.refused(error)
            if self.readable():
                raise
            return None
        weights: dict[str, Tensor] = run.X.network.state_dict()
        assert bits(weights) in self.saved[run.step]
        assert run.step >= max(self.readable(), default=0)
        newer = [step for step in candidates(self.out / "checkpoints") if step > run.step]
        assert all(any(line.startswith(f"Checkpoint {step} is not used: ") for line in told) for step in newer)
        return run

    @invariant()
    def it_loads_or_is_refused_by_name(self) -> None:
        """Also its samples."""
        if (run := self.read()) is not None:
            x = run.sample(x0=torch.zeros(2, *run.event))
            assert x.shape == (2, *run.event)

    @invariant()
    def steps_that_are_done_again_give_the_same_weights(self) -> None:
        """Bit for bit, where no setting was changed."""
        assert self.varied or all(len(found) == 1 for found in self.trained.values())


class LongHistories(Histories):
    """The same with programs that are exported."""

    exports = 2


@pytest.fixture
def _frozen() -> Iterator[None]:
    """What is there already is not looked through whenever a process dies."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("unchecked", "_frozen")
def test_any_history_leaves_a_folder_that_loads_or_is_refused_by_name() -> None:
    quick = settings(max_examples=9, stateful_step_count=15, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(Histories, settings=quick)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked", "_frozen")
def test_any_long_history_does_too() -> None:
    thorough = settings(max_examples=50, stateful_step_count=25, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(LongHistories, settings=thorough)
