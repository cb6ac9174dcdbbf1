"""The golden runs: losses, gradients, trained weights and samples of every row, from numbers that no library draws.

Weights, samples and times are raw words of Philox, a counter-based generator whose words never change, divided by
2^64; they go into the loss as a `Draw`, so that nothing here follows how the engine draws. What the library itself
draws by seed, the noise of the sampler, is part of what is measured.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField
from flowops.maps import LearnedJointMap
from flowops.methods import Draw, Learned, Method, PowerLaw, TermDraw, get_method
from flowops.networks import MLP, LearnedWeight, UNet
from flowops.runs import OptimizerConfig
from flowops.sampling import noise, sample
from flowops.times import Request
from flowops.training.optimization import Clip, optimizer_of, set_rates
from tests.golden import settings
from tests.golden.settings import BATCH, CHUNK, CLASSES, EVENT, GRID, SAMPLES, STEPS

Numbers = dict[str, Any]
PROJECTIONS = 3


def uniform(name: str, *shape: int) -> Tensor:
    """Numbers on [0, 1) that belong to a name."""
    words = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(int(np.prod(shape, dtype=int)))
    return torch.from_numpy((words >> np.uint64(11)) * 2.0**-53).reshape(shape)


def centered(name: str, *shape: int) -> Tensor:
    """Numbers of mean square one about zero."""
    return (2 * uniform(name, *shape) - 1) * 3**0.5


def filled(module: nn.Module, name: str) -> nn.Module:
    """The module in float64 with parameters that belong to a name."""
    module = module.double().eval()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            fan = parameter.shape[1:].numel() if parameter.ndim > 1 else 4
            parameter.copy_(centered(f"{name} {key}", *parameter.shape) / fan**0.5)
    return module


def network(name: str = "network", joint: bool = False) -> LearnedMap:
    """The map of the runs."""
    made = filled(MLP(**{**settings.NETWORK, "log_det": joint}, generator=torch.Generator()), name)
    return (LearnedJointMap if joint else LearnedMap)(made, None)


def interpolant() -> Interpolant:
    """The schedule of the runs."""
    return Interpolant.from_expressions(**settings.INTERPOLANT)


def method_of(name: str) -> Method:
    """The row of a run with all its options."""
    row, options = settings.row_of(name)
    if options["weight"] == "learned":
        weight = LearnedWeight(**settings.WEIGHT, generator=torch.Generator())
        options["weight"] = Learned(filled(weight, "weight"))
    return get_method(row, **options)


@dataclass(frozen=True, eq=False)
class Given(Request):
    """A request whose numbers are those of a name."""

    name: str = ""
    asked: Iterator[int] = field(default_factory=count)

    def uniform(self) -> Tensor:
        return uniform(f"{self.name} uniform {next(self.asked)}", self.n)

    def normal(self) -> Tensor:
        return torch.special.ndtri(0.5 * self.uniform() + 0.25)

    def index(self, count: int) -> Tensor:
        return (self.uniform() * count).long()

    def permutation(self) -> Tensor:
        return self.uniform().argsort()


def draw_of(method: Method, name: str) -> Draw:
    """What is random in a loss: the diagonal on the first rows of a term that has one, its law on the others."""
    o, I, terms = method.options, interpolant(), []
    cut = round(o.eta * BATCH)
    x0, x1, kept = centered(f"{name} x0", BATCH, *EVENT), centered(f"{name} x1", BATCH, *EVENT), torch.ones(BATCH) > 0
    kept[BATCH // 2] = not o.label_dropout
    labels = torch.where(kept, torch.arange(BATCH) % CLASSES, CLASSES)
    ranged = isinstance(o.guidance, PowerLaw)
    scales = torch.where(kept, 1 + 3 * uniform(f"{name} scale", BATCH), 1.0) if ranged else None
    for k, term in enumerate(method.terms):
        rows = {"all": slice(0, BATCH), "eta": slice(0, cut), "rest": slice(cut, BATCH)}[term.share]
        n, last = rows.stop - rows.start, k == len(method.terms) - 1
        law = o.law if last or term.law is None else term.law
        s, t = law.draw(Given(n, I, 40, None, torch.float64, torch.device("cpu"), f"{name} term {k}"))
        fraction: Any = uniform(f"{name} fraction {k}", n)
        if term.fraction and getattr(o, term.fraction) is not None:
            fraction = getattr(o, term.fraction)
        s, u, t = term.middle(s, t, fraction)
        drawn = TermDraw(
            rows=rows, s=s, u=u, t=t, x0=x0[rows], x1=x1[rows], z=None, labels=labels[rows], kept=kept[rows],
            guidance=None if scales is None else scales[rows],
            probes=centered(f"{name} probes", BATCH, o.probes, *EVENT)[rows].sign() if o.probes else None,
        )  # fmt: skip
        terms.append(drawn)
    alpha = torch.tensor(o.alpha, dtype=torch.float64) if method.row.alpha is not None else None
    warmup = torch.tensor(0.4, dtype=torch.float64) if o.warmup else None
    return Draw(terms=tuple(terms), seed=torch.tensor(0), warmup=warmup, alpha=alpha, size=BATCH)


def operators_of(method: Method) -> dict[str, Any]:
    """The teacher that the row wants, which solves nothing, and the average of the map."""
    held = network("teacher").requires_grad_(False)
    teachers: dict[str, VelocityField | FlowMap] = {"field": held.velocity(), "map": held, "field or map": held}
    if method.name == "pd":  # of its first round
        teachers["field or map"] = held.velocity()
    teacher = teachers.get(method.row.teacher.removeprefix("optional "))
    return {"teacher": teacher, "average": network("average", method.joint).requires_grad_(False)}


def projected(tensors: Sequence[Tensor], name: str) -> list[float]:
    """Inner products of many numbers with directions that belong to a name."""
    flat = torch.cat([tensor.detach().flatten().double() for tensor in tensors])
    return (centered(f"{name} direction", PROJECTIONS, len(flat)) @ flat).tolist()


def run(name: str, optimizer: dict[str, Any]) -> Numbers:
    """Loss and gradient of a row, its weights after some steps, and samples of the trained map."""
    I, method = interpolant(), method_of(name)
    X = network(joint=method.joint)
    held, numbers = operators_of(method), Numbers()
    parameters = [*X.parameters(), *method.parameters()]
    config = OptimizerConfig(**optimizer)
    moved = optimizer_of(config, parameters)
    for k in range(STEPS):
        result = method.evaluate(X, I, draw_of(method, f"step {k}"), **held)
        result.loss.backward()
        if k == 0:
            numbers["loss"] = result.loss.item()
            numbers["terms"] = {term: value.item() for term, value in result.terms.items()}
            numbers["times"] = [*result.s[-2:].tolist(), *result.t[-2:].tolist()]
            given = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            numbers["gradient"] = projected(given, "gradient")
        Clip(config.clip, config.clip_unit)(parameters)
        set_rates(moved, config, 1.0)
        moved.step()
        moved.zero_grad()
    numbers["weights"] = projected(parameters, "weights")
    labels = torch.arange(SAMPLES) % CLASSES
    x0 = noise(SAMPLES, EVENT, seed=7, device="cpu", dtype=torch.float64, start=2, stream=0)
    x = sample(X.given(label=labels, guidance=torch.ones(SAMPLES)), x0, GRID, chunk=CHUNK)
    numbers["samples"] = x[:, 0].tolist()
    return numbers


def of_network(module: nn.Module, event: tuple[int, ...]) -> Numbers:
    """Value and forward derivative in the end time."""
    X = LearnedMap(module, None).given(label=torch.arange(4) % CLASSES, guidance=1 + uniform("scale", 4))
    value, dt = X.value_and_dt(uniform("s", 4), uniform("t", 4), centered("x", 4, *event))
    return {"value": projected([value], "value"), "derivative": projected([dt], "derivative")}


def unet(name: str, magnitude_preserving: bool) -> nn.Module:
    """A network of images."""
    made = UNet(**settings.UNET, magnitude_preserving=magnitude_preserving, generator=torch.Generator())
    return filled(made, name)


NETWORKS: dict[str, Callable[[], Numbers]] = {
    "perceptron": lambda: of_network(network().network, EVENT),
    "U-Net": lambda: of_network(unet("U-Net", False), settings.UNET["event"]),
    "U-Net, magnitude-preserving": lambda: of_network(unet("U-Net, preserving", True), settings.UNET["event"]),
}
RUNS: dict[str, Callable[[], Numbers]] = {
    **{f"row {name}": partial(run, name, settings.OPTIMIZER) for name in (*settings.ROWS, *settings.VARIANTS)},
    **{f"optimizer {name}": partial(run, "fm", options) for name, options in settings.OPTIMIZERS.items()},
    **{f"network {name}": make for name, make in NETWORKS.items()},
}
"""Everything that is measured, by name."""
