"""Training a flow map on the checkerboard by one method: what the experiments in the plane share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Muon
from torch.optim.swa_utils import AveragedModel

from flowops import Interpolant, LearnedMap, problems
from flowops.couplings import OptimalTransport, Paired
from flowops.methods import compile_loss, get_method
from flowops.networks import MLP
from flowops.problems import Problem

Board = Problem[Any, Any]
Report = Callable[[float, str], None]
STEADY: Mapping[str, Mapping[str, Any]] = {
    "esd": {"form": "velocity"},  # the form of the map diverges at the rate that serves the others
    "lmd": {"stop_gradient": True, "p": 1.0, "c": 0.1},  # off the board the exact field is steep near t = 1
}
"""Options that keep a method stable here; a weight does not move the minimizer of a row with a teacher."""
BASE = "(1-t)/sqrt(3)"  # the base scaled to the data's standard deviation (2505.18825 §G.1)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a training besides the machine it runs on.

    Attributes:
        method: name of a row of `flowops.methods`.
        options: its options.
        minutes: time for everything, coupling and compilation included, if `steps` is 0.
        steps: number of steps.
        batch: samples per step.
        rate: learning rate of Adam, which falls linearly to zero.
        hidden_rate: that of Muon, which serves the square matrices.
        average: decay of the exponential average of the parameters, which is what is judged.
        width: units of a hidden layer.
        depth: hidden layers.
        octaves: Fourier features of the state, of frequencies pi, 2 pi, 4 pi, ...
        pairs: size of the data set of pairs coupled by optimal transport; 0 couples independently.
        half: whether products of matrices are in bfloat16; None where that is faster.
        seed: of every draw.
    """

    method: str = "lsd"
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 2.0
    steps: int = 0
    batch: int = 2048
    rate: float = 1e-3
    hidden_rate: float = 1e-2
    average: float = 0.999
    width: int = 256
    depth: int = 4
    octaves: int = 4
    pairs: int = 131_072
    half: bool | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """The averaged map, and how it came about."""

    X: LearnedMap
    steps: int
    seconds: float
    losses: list[float]
    interrupted: bool


def board_of(alpha: str = BASE, beta: str = "t") -> Board:
    """The checkerboard of four squares a side under a schedule; an unusable one is refused."""
    interpolant = Interpolant.from_expressions(alpha, beta)
    interpolant.validate().raise_if_unusable()
    return problems.checkerboard(interpolant)


def train(plan: Plan, board: Board, report: Report, device: str = "cpu") -> Trained:
    """One training; Ctrl-C ends it early and keeps what there is. `report` is told the fraction done and a line."""
    start, generator = time.monotonic(), torch.Generator().manual_seed(plan.seed)
    board = board.to(device)
    frequencies = [math.pi * 2**k for k in range(plan.octaves)]
    network = MLP(2, width=plan.width, depth=plan.depth, frequencies=frequencies, generator=generator)
    X = LearnedMap(network.to(device))
    # short memory at first, so that the initial parameters are soon forgotten
    averaged = AveragedModel(X, avg_fn=lambda old, new, n: old.lerp(new, max(1 - plan.average, 9 / (10 + int(n)))))
    step, interrupted, losses = 0, False, []
    try:
        loss, draw = loss_of(plan, X, board, device), sampler(plan, board, generator, device)
        optimizer, recent, begin = Descent(plan, network), torch.zeros((), device=device), time.monotonic()
        while (done := fraction_done(plan, step, start, begin)) < 1:
            value = loss(*draw())
            value.backward()
            optimizer.step((1 - done) * min(1, (step + 1) / 200))
            averaged.update_parameters(X)
            step, recent = step + 1, recent.lerp(value.detach(), max(0.01, 1 / (step + 1)))
            if step % 50 == 0:
                losses.append(recent.item())
                speed = step * plan.batch / (time.monotonic() - begin)
                report(done, f"step {step}  loss {losses[-1]:.4f}  {speed:,.0f} samples/s")
    except KeyboardInterrupt:
        interrupted = True
    report(1.0, f"step {step}  loss {losses[-1] if losses else math.nan:.4f}")
    best = averaged.module.requires_grad_(False)
    assert isinstance(best, LearnedMap)
    return Trained(best, step, time.monotonic() - start, losses, interrupted)


def fraction_done(plan: Plan, step: int, start: float, begin: float) -> float:
    """How far the training is, by steps or by the clock."""
    if plan.steps:
        return step / plan.steps
    return (time.monotonic() - begin) / max(60 * plan.minutes - (begin - start), 1e-9)


class Descent:
    """Muon for the square matrices, Adam for everything else; gradients are clipped, and cleared after the step."""

    def __init__(self, plan: Plan, network: MLP) -> None:
        self.parameters = list(network.parameters())
        matrices = [p for p in self.parameters if p.shape == (plan.width, plan.width)]
        others = [p for p in self.parameters if p.shape != (plan.width, plan.width)]
        self.rates = (plan.rate, plan.hidden_rate)
        self.optimizers: list[torch.optim.Optimizer] = [Adam(others, fused=True)]
        if matrices:
            self.optimizers.append(Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))

    def step(self, factor: float) -> None:
        """One step at `factor` times the learning rates."""
        nn.utils.clip_grad_norm_(self.parameters, 10.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=False):
            optimizer.param_groups[0]["lr"] = factor * rate
            optimizer.step()
            optimizer.zero_grad()


def loss_of(plan: Plan, X: LearnedMap, board: Board, device: str) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The compiled loss of a batch of pairs, drawn with a seed."""
    method, interpolant = get_method(plan.method, **plan.options), board.interpolant
    assert interpolant is not None
    teacher = board.b if "field" in method.row.teacher else None
    half = faster_in_half(device) if plan.half is None else plan.half

    @compile_loss
    def evaluate(draw: Any) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            return method.evaluate(X, interpolant, draw, teacher=teacher).loss

    def loss(x0: Tensor, x1: Tensor, seed: int) -> Tensor:
        return evaluate(method.draw(X, interpolant, x0, x1, teacher=teacher, seed=seed))

    return loss


def sampler(
    plan: Plan, board: Board, generator: torch.Generator, device: str
) -> Callable[[], tuple[Tensor, Tensor, int]]:
    """Draws of a batch of pairs and of the seed for its times."""
    pairs = transport_pairs(board, plan.pairs, generator, device) if plan.pairs else None
    there = torch.Generator(device).manual_seed(plan.seed)

    def draw() -> tuple[Tensor, Tensor, int]:
        if pairs is None:
            x0, x1 = (law(plan.batch, generator=there, device=device) for law in (board.sample_base, board.sample_data))
        else:
            x0, x1, _ = pairs.sample(plan.batch, generator=there)
        return x0, x1, int(torch.randint(2**62, (), generator=generator))

    return draw


def transport_pairs(
    board: Board, n: int, generator: torch.Generator, device: str, *, block: int = 256, rounds: int = 6
) -> Paired:
    """`n` pairs that approach the optimal coupling: exact assignments within random blocks, again and again."""
    x0, x1 = board.sample_base(n, generator=generator), board.sample_data(n, generator=generator)
    couple = OptimalTransport()
    for _ in range(rounds):
        order = torch.randperm(n, generator=generator)
        parts = [couple(x0[rows], x1[rows]) for rows in order.split(block)]
        x0, x1 = torch.cat([part.x0 for part in parts]), torch.cat([part.x1 for part in parts])
    return Paired(x0.to(device), x1.to(device))


def faster_in_half(device: str) -> bool:
    """Whether products of matrices are faster in bfloat16 than in float32 here."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(2048, 256, dtype=dtype, device=device), torch.ones(256, 256, dtype=dtype, device=device)
        (a @ b).sum().item()
        start = time.perf_counter()
        (a @ b @ b @ b).sum().item()
        seconds.append(time.perf_counter() - start)
    return seconds[1] < 0.7 * seconds[0]
