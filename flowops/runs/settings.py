"""What decides a training run, as typed frozen dataclasses; the command line and `config.yaml` are made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from flowops._arguments import fits, hints_of, words
from flowops._named import texts
from flowops.runs.power import WIDEST

GIVEN = "given"
"""In the settings of a run, for an object that was passed to `train` and has no name."""
DIFFUSERS = "diffusers:"
"""Before a folder that diffusers saved, in place of the name of a network or a teacher."""
VERSION = 2
"""Of the layout of `config.yaml`."""
GENERAL: Mapping[str, Any] = {
    "steps": 10_000,
    "batch": 128,
    "averages": (0.999, 0.9999),
    "checkpoint_every": 1_000,
    "optimizer.kind": "adam",
    "optimizer.schedule": "constant",
    "network.parameterization": "average-velocity",
}
"""Settings of a data set that names none of its own."""

Options: TypeAlias = tuple[str, ...] | Mapping[str, Any]
"""Options as texts `name=value`, which is how a configuration holds them, or by name, which it is given as well."""


def refuse_given(name: str, what: str) -> None:
    """Refuse to make by its name what was an object."""
    if name == GIVEN:
        raise ValueError(
            f"`{what}` must be given again, for it was an object; pass it to `flowops.train` or `Run.load` in Python."
        )


def at_least(least: int) -> dict[str, Any]:
    """The bound of a whole number; None, for the data set's own, passes."""
    return {
        "holds": lambda value: isinstance(value, int) and value >= least,
        "wanted": f"a whole number of at least {least}",
    }


def within(low: float, high: float = math.inf) -> dict[str, Any]:
    """The bounds of a number, the upper one excluded."""
    return {"holds": lambda value: low <= value < high, "wanted": f"in [{low:g}, {high:g})"}


@dataclass(frozen=True, init=False)
class NetworkConfig:
    """The network of the map, `NetworkConfig("mlp", width=512)`.

    Attributes:
        kind: mlp, unet, ddpmpp, dit, diffusers:FOLDER for a pretrained model of diffusers, or package.module:factory,
            made from (event, classes); auto for what suits the data.
        options: options of the network as name=value, such as width=512.
        parameterization: what the network predicts; average-velocity, edm, cosine-sine, endpoint, second-order, or
            package.module:factory. That of the data set if it and the schedule are left out, average-velocity for most.
        parameterization_options: options of the parameterization, such as sigma_data=0.5.
    """

    kind: str = "auto"
    options: tuple[str, ...] = ()
    parameterization: str | None = None
    parameterization_options: tuple[str, ...] = ()

    def __init__(
        self,
        kind: str = "auto",
        options: Mapping[str, Any] | Sequence[str] = (),
        parameterization: str | None = None,
        parameterization_options: Mapping[str, Any] | Sequence[str] = (),
        **named: Any,
    ) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "options", (*texts(options), *texts(named)))
        object.__setattr__(self, "parameterization", parameterization)
        object.__setattr__(self, "parameterization_options", texts(parameterization_options))


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate.

    Attributes:
        kind: which optimizer of torch.optim; muon takes the square matrices, Adam the rest. The data set's own if left
            out, adam for most.
        rate: learning rate.
        matrix_rate: learning rate of the matrices under muon.
        schedule: how the rate depends on the step, the data set's own if left out; inverse-sqrt falls from decay_start.
        warmup: steps over which the rate rises linearly from zero; a long one is not needed.
        decay_start: step after which inverse-sqrt falls.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: strength of the decay of the weights under adamw.
        clip: largest norm of the gradient, in units of clip_unit; 0 for no limit.
        clip_unit: one, or running-norm for a multiple of what the norm has been, the same on every size of event.
    """

    kind: Literal["adam", "adamw", "radam", "muon"] | None = None
    rate: float = field(default=1e-3, metadata=within(0.0))
    matrix_rate: float = field(default=1e-2, metadata=within(0.0))
    schedule: Literal["constant", "inverse-sqrt", "cosine", "linear"] | None = None
    warmup: int = field(default=0, metadata=at_least(0))
    decay_start: int = field(default=35_000, metadata=at_least(1))
    beta1: float = field(default=0.9, metadata=within(0.0, 1.0))
    beta2: float = field(default=0.99, metadata=within(0.0, 1.0))
    weight_decay: float = field(default=0.01, metadata=within(0.0))
    clip: float = field(default=1.0, metadata=within(0.0))
    clip_unit: Literal["one", "running-norm"] = "one"


@dataclass(frozen=True)
class HardwareConfig:
    """Where and how it runs; but for the accelerator nothing here changes what is computed, up to rounding.

    Noise and times are drawn where they are used, and the generators of a CPU and of CUDA give different numbers.

    Attributes:
        accelerator: cpu, cuda, mps, or auto.
        devices: processes on each machine, one device each; under torchrun or SLURM their number decides.
        nodes: machines.
        strategy: auto or ddp.
        precision: bf16 computes the network in bfloat16, times and tangents stay in float32.
        compile: compile the whole loss; auto does so on CUDA, and goes on without where it fails, which ends a run
            with yes. Each graph is checked once against the uncompiled loss.
        accumulate: parts into which the batch of a process is cut, one after the other, to save memory.
        recompute: parts whose activations are computed again in the backward pass, to save memory; 0 for none.
        float32: how matrices and convolutions in float32 are multiplied on CUDA; high rounds factors to 11 bits (TF32),
            several times faster, medium to 8 bits, highest not at all.
        autotune: let cuDNN time its convolutions at the first step and keep the fastest; two runs may then choose
            differently, so that a resumed run is the same up to rounding only.
        look_every: steps between looks of the host at signals, the clock and steps that were not finite, each of which
            waits for the device; 0 for every step on a CPU, every tenth elsewhere.
        channels_last: keep images in the memory format that convolutions on CUDA prefer; auto does so on CUDA.
        threads: threads of torch on the CPU; 0 for its own choice.
    """

    accelerator: str = "auto"
    devices: int = field(default=1, metadata=at_least(1))
    nodes: int = field(default=1, metadata=at_least(1))
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    compile: Literal["auto", "yes", "no"] = "auto"
    accumulate: int = field(default=1, metadata=at_least(1))
    recompute: int = field(default=0, metadata=at_least(0))
    float32: Literal["highest", "high", "medium"] = "high"
    autotune: bool = False
    look_every: int = field(default=0, metadata=at_least(0))
    channels_last: Literal["auto", "yes", "no"] = "auto"
    threads: int = field(default=0, metadata=at_least(0))


@dataclass(frozen=True)
class LogConfig:
    """What is written while it runs.

    Attributes:
        every: steps between rows of metrics.csv; 0 for every step in runs of up to 1,000 steps, a thousand rows in
            longer ones, and every tenth step in one that ends by the clock.
        telemetry_every: steps between tables of loss and tangent by cell of (s, t); 0 for none.
        sample_every: steps between pictures in samples/; 0 for one at the end only.
        pictures: what they show; steps for 1, 2 and 4 steps from the same noise, classes for every class by steps and
            by dopri5, which costs a solve, trajectories for the way of a few samples.
        keep: newest checkpoints that are kept; 0 for all. Power-function averages are kept apart, those of all.
        to: where rows and pictures go: csv for metrics.csv, tensorboard, wandb, trackio, or package.module:factory of a
            Logger.
        project: name of the project at wandb and trackio.
        tensorboard: whether logs/ gets event files, if tensorboard is installed; false takes it out of `to`.
        progress: whether progress is shown.
    """

    every: int = field(default=0, metadata=at_least(0))
    telemetry_every: int = field(default=500, metadata=at_least(0))
    sample_every: int = field(default=0, metadata=at_least(0))
    pictures: tuple[Literal["steps", "classes", "trajectories"], ...] = ("steps",)
    keep: int = field(default=3, metadata=at_least(0))
    to: tuple[str, ...] = ("csv", "tensorboard")
    project: str = "flowops"
    tensorboard: bool = True
    progress: bool = True


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluations while it trains, of every average of the weights; the best is kept.

    Attributes:
        every: steps between evaluations, a multiple of checkpoint_every; 0 for none.
        samples: samples of each sampler.
        steps: numbers of steps of the map; the first one decides which average is best.
        features: features of images, as those of flowops evaluate; pixels if left out.
    """

    every: int = field(default=0, metadata=at_least(0))
    samples: int = field(default=5_000, metadata=at_least(10))
    steps: tuple[int, ...] = (1, 2, 4)
    features: str | None = None


@dataclass(frozen=True)
class TrainConfig:
    r"""A training run. What is None is chosen for the data set when the run starts.

    Attributes:
        dataset: digits, checkerboard, cifar10, imagenet32, folder:PATH, ..., or package.module:factory.
        data: folder of a data set that lives on disk.
        data_options: options of the data set, as name=value, such as flip=false or download=true.
        method: row of the table of methods, or package.module:row; flowops methods lists them.
        options: options of the method, as name=value, such as eta=0.5 or guidance=1,4; those that suit the data set
            hold beside them.
        interpolant: named schedule, or package.module:factory; linear if left out. flowops schedules lists them.
        alpha: coefficient of the base in t, such as "cos(pi*t/2)", in place of a named schedule.
        beta: coefficient of the data.
        gamma: coefficient of the latent, if there is one.
        coupling: how base and data samples of a batch are paired, within their class where there are labels;
            independent, optimal-transport, sinkhorn, or package.module:factory.
        coupling_options: options of the coupling, as name=value, such as block=256.
        labels: whether the network sees the labels of a data set that has them.
        label_dropout: probability that a label is dropped, which guidance needs.
        augment: probability of each movement of the images, of which the network is told; see `data.Augmentation`.
        teacher: what is distilled; folder of a run, problem:checkerboard for an exact field, diffusers:FOLDER for a
            model of diffusers, or package.module:factory.
        init: folder of a run whose averaged weights are the first ones, or a file of weights, NAME.safetensors.
        init_partial: whether it is enough that some of them have the names and shapes of this network; the others keep
            their first weights.
        steps: training steps; the data set's own number if left out, 10,000 for most.
        minutes: time after which the training ends, whatever its steps; 0 for none.
        batch: samples of one step, over all devices; the data set's own number if left out, 128 for most.
        seed: seed of every draw.
        averages: decays of the exponential averages of the weights; samples come from the first. 0.999 and 0.9999 if
            left out, for most data sets.
        power: relative widths of power-function averages, which can be re-weighted after training.
        checkpoint_every: steps between checkpoints, 0 for one at the end only; 1,000 if left out, for most data sets.
        out: folder of the run.
        audit: whether the derivatives of a network of your own are checked before the first step; those of flowops
            are checked by its tests.
        patience: steps with a loss that is not finite, in a row, after which the run stops.
        network: the network.
        optimizer: the optimizer.
        hardware: where it runs.
        log: what is written.
        evaluate: what is measured while it trains.

    >>> config = TrainConfig("digits", method="lsd", options={"eta": 0.5}, network=NetworkConfig("mlp", width=512))
    >>> config.options, config.network.options
    (('eta=0.5',), ('width=512',))
    """

    dataset: str
    data: str | None = None
    data_options: Options = ()
    method: str = "lsd"
    options: Options = ()
    interpolant: str | None = None
    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None
    coupling: str = "independent"
    coupling_options: Options = ()
    labels: bool = True
    label_dropout: float = field(default=0.1, metadata=within(0.0, 1.0))
    augment: float = field(default=0.0, metadata=within(0.0, 1.0))
    teacher: str | None = None
    init: str | None = None
    init_partial: bool = False
    steps: int | None = field(default=None, metadata=at_least(0))
    minutes: float = field(default=0.0, metadata=within(0.0))
    batch: int | None = field(default=None, metadata=at_least(1))
    seed: int = 0
    averages: tuple[float, ...] | None = None
    power: tuple[float, ...] = ()
    checkpoint_every: int | None = field(default=None, metadata=at_least(0))
    out: str = "runs/run"
    audit: bool = True
    patience: int = field(default=10, metadata=at_least(1))
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    log: LogConfig = field(default_factory=LogConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        for name in ("data_options", "options", "coupling_options"):
            object.__setattr__(self, name, texts(getattr(self, name)))
        if isinstance(self.network, str):
            object.__setattr__(self, "network", NetworkConfig(self.network))
        for name, kind in (("dataset", str), ("method", str), ("network", NetworkConfig)):
            if not isinstance(value := getattr(self, name), kind):
                beside = "as package.module:row" if name == "method" else f"beside it, as in train(config, {name}=...)"
                raise TypeError(
                    f"`{name}` must be a name in a configuration, got {type(value).__name__}; pass one of your own "
                    f"{beside}."
                )

    @property
    def most_steps(self) -> float:
        """The number of training steps, infinite where only `minutes` end the run."""
        return float(self.steps or "inf")


def get(config: Any, name: str) -> Any:
    """The setting of a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def with_value(config: Any, name: str, value: Any) -> Any:
    """The configuration with the setting of a dotted name changed."""
    head, _, rest = name.partition(".")
    inner = getattr(config, head)
    return replace(config, **{head: with_value(inner, rest, value) if rest and is_dataclass(inner) else value})


def check_config(config: TrainConfig) -> None:
    """Refuse values of another kind or outside their range, and settings that exclude each other.

    Raises:
        ValueError: one sentence with what was wanted, what was given, what to do.
    """
    _check_values(config)
    if config.steps == 0 and not config.minutes:
        raise ValueError("`steps` must be a whole number of at least 1 without `minutes`, got 0; pass 1 or more.")
    if config.optimizer.schedule in ("cosine", "linear") and config.steps and config.optimizer.warmup >= config.steps:
        raise ValueError(
            f"`optimizer.warmup` must be below `steps` = {config.steps} for a {config.optimizer.schedule} schedule, "
            f"got {config.optimizer.warmup}; shorten it."
        )
    if config.optimizer.rate == 0:
        raise ValueError("`optimizer.rate` must be positive, got 0; pass 1e-3, say.")
    if not all(0 < decay < 1 for decay in config.averages or ()):
        raise ValueError(f"`averages` must lie between 0 and 1, got {config.averages}; pass 0.999, say.")
    if not all(0 < width <= WIDEST for width in config.power):
        raise ValueError(
            f"`power` must lie between 0 and {WIDEST:.4f}, the width of uniform weights, got {config.power}; pass 0.1, "
            f"say."
        )
    if config.averages is not None and not (config.averages or config.power):
        raise ValueError("`averages` must hold at least one decay, got none; samples come from the first, pass 0.999.")
    if (config.alpha is None) != (config.beta is None) or (config.gamma is not None and config.alpha is None):
        raise ValueError("`alpha` and `beta` must be given together, got one of them; pass both as formulas in t.")
    if config.alpha is not None and config.interpolant is not None:
        raise ValueError(f"`interpolant` must not be given beside `alpha`, got {config.interpolant!r}; drop one.")
    _check_evaluations(config)
    check_shares(config, config.hardware.devices * config.hardware.nodes)


def _check_evaluations(config: TrainConfig) -> None:
    """Refuse evaluations between checkpoints, and such without a number of steps."""
    e, every = config.evaluate, config.checkpoint_every
    if not e.steps or min(e.steps) < 1:
        raise ValueError(
            f"`evaluate.steps` must be numbers of at least 1, one of them or more, got {e.steps}; pass 1 2 4."
        )
    if e.every and every is not None and (not every or e.every % every):
        raise ValueError(
            f"`evaluate.every` must be a multiple of `checkpoint_every` = {every}, whose checkpoints are judged, got "
            f"{e.every}; change one of them."
        )


def check_shares(config: TrainConfig, processes: int) -> None:
    """Refuse a batch that the processes and the parts of their batches do not divide."""
    h = config.hardware
    factors = {"processes": processes, "hardware.accumulate": h.accumulate, "hardware.recompute": h.recompute}
    factors = {name: factor for name, factor in factors.items() if factor > 1}
    shares = math.prod(factors.values())
    if config.batch is not None and config.batch % shares:
        raise ValueError(
            f"`batch` must be a multiple of {' x '.join(factors)} = {' x '.join(map(str, factors.values()))}, got "
            f"{config.batch}; pass {math.ceil(config.batch / shares) * shares}, say."
        )


def _check_values(config: Any, prefix: str = "") -> None:
    """Refuse values of another kind than their annotation names, and outside the bounds in the metadata."""
    hints = hints_of(type(config))
    for f in fields(config):
        kind, value, name = hints[f.name], getattr(config, f.name), prefix + f.name
        if is_dataclass(kind) and isinstance(value, kind):  # type: ignore[arg-type]
            _check_values(value, f"{name}.")
        elif not fits(kind, value) or ("holds" in f.metadata and value is not None and not f.metadata["holds"](value)):
            textual = str in (kind, *get_args(kind))
            hint = "name one of your own as package.module:name" if textual else "pass one"
            raise ValueError(f"`{name}` must be {f.metadata.get('wanted', words(kind))}, got {value!r}; {hint}.")
