"""What decides a training run, as typed frozen dataclasses; the command line and `config.yaml` are made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

VERSION = 1
"""Of the layout of `config.yaml`."""


@dataclass(frozen=True)
class NetworkConfig:
    """The network of the map.

    Attributes:
        kind: auto takes unet for images and mlp for points; package.module:factory makes your own from (event, labels).
        channels: unet, channels at the highest resolution.
        multipliers: unet, multiples of the channels at each resolution, halved from one to the next.
        blocks: unet, residual blocks at each resolution.
        attention: unet, resolutions with self-attention.
        heads_width: unet, channels of an attention head.
        dropout: unet, probability of dropping an activation.
        embedding: unet, features of the times.
        time_scale: unet, highest frequency of these features; derivatives in time grow with it.
        magnitude_preserving: unet, layers that keep the magnitude of activations, as in EDM2.
        width: mlp, units of a hidden layer.
        depth: mlp, hidden layers.
        octaves: mlp, Fourier features of the state with frequencies pi, 2 pi, 4 pi, ...
    """

    kind: str = "auto"
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (8,)
    heads_width: int = 32
    dropout: float = 0.0
    embedding: Literal["positional", "fourier"] = "positional"
    time_scale: float = 8.0
    magnitude_preserving: bool = False
    width: int = 256
    depth: int = 4
    octaves: int = 4


@dataclass(frozen=True)
class OptimizerConfig:
    """The descent.

    Attributes:
        kind: which optimizer of torch.optim.
        rate: learning rate.
        schedule: how the rate depends on the step; inverse-sqrt falls like the square root after decay_start.
        warmup: steps over which the rate rises linearly from zero; a long one is not needed.
        decay_start: step after which inverse-sqrt falls.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: of adamw.
        clip: largest norm of the gradient; 0 for no limit.
    """

    kind: Literal["adam", "adamw", "radam"] = "adam"
    rate: float = 1e-3
    schedule: Literal["constant", "inverse-sqrt", "cosine", "linear"] = "constant"
    warmup: int = 0
    decay_start: int = 35_000
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class HardwareConfig:
    """Where and how it runs; nothing here changes what is computed, up to rounding.

    Attributes:
        accelerator: cpu, cuda, mps, or auto.
        devices: processes on each machine, one device each; under torchrun or SLURM their number decides.
        nodes: machines.
        strategy: auto or ddp.
        precision: bf16 computes the network in bfloat16, times and tangents stay in float32.
        compile: compile the whole loss; auto does so on CUDA. It is checked once against the uncompiled loss.
        accumulate: parts into which the batch of a process is cut, one after the other, to save memory.
        recompute: parts whose activations are computed again in the backward pass, to save memory; 0 for none.
        channels_last: keep images in the memory format that convolutions on CUDA prefer; auto does so on CUDA.
        threads: of torch on the CPU; 0 for its own choice.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    compile: Literal["auto", "yes", "no"] = "auto"
    accumulate: int = 1
    recompute: int = 0
    channels_last: Literal["auto", "yes", "no"] = "auto"
    threads: int = 0


@dataclass(frozen=True)
class LogConfig:
    """What is written while it runs.

    Attributes:
        every: steps between rows of metrics.csv; 0 for every step in runs of up to 1,000 steps, else a thousand rows.
        telemetry_every: steps between tables of loss and tangent by cell of (s, t); 0 for none.
        sample_every: steps between pictures in samples/; 0 for one at the end only.
        keep: newest checkpoints that are kept; 0 for all.
        tensorboard: whether logs/ gets event files, if tensorboard is installed.
        progress: whether progress is shown.
    """

    every: int = 0
    telemetry_every: int = 500
    sample_every: int = 0
    keep: int = 0
    tensorboard: bool = True
    progress: bool = True


@dataclass(frozen=True)
class TrainConfig:
    r"""A training run.

    Attributes:
        dataset: digits, checkerboard, cifar10, imagenet32, folder:PATH, ..., or package.module:factory.
        data: folder of a data set that lives on disk.
        data_options: options of the data set, as name=value, such as flip=false or download=true.
        method: row of the table of methods; flowops methods lists them.
        options: options of the method, as name=value, such as eta=0.5 or guidance=1,4.
        interpolant: a named schedule; flowops schedules lists them.
        alpha: coefficient of the base in t, such as "cos(pi*t/2)", in place of a named schedule.
        beta: coefficient of the data.
        gamma: coefficient of the latent, if there is one.
        coupling: how base and data samples of a batch are paired; within their class where there are labels.
        labels: whether the network sees the labels of a data set that has them.
        label_dropout: probability that a label is dropped, which guidance needs.
        teacher: folder of a run whose field or map is distilled.
        init: folder of a run whose averaged weights are the first ones.
        steps: training steps.
        batch: samples of one step, over all devices.
        seed: of everything random.
        averages: decays of the exponential averages of the weights; samples come from the first.
        power: relative widths of power-function averages, which can be re-weighted after training.
        checkpoint_every: steps between checkpoints; 0 for one at the end only.
        out: folder of the run.
        audit: whether the network's derivatives are checked before the first step.
        patience: steps with a loss that is not finite, in a row, after which the run stops.
        network: the network.
        optimizer: the descent.
        hardware: where it runs.
        log: what is written.
    """

    dataset: str
    data: str | None = None
    data_options: tuple[str, ...] = ()
    method: str = "lsd"
    options: tuple[str, ...] = ()
    interpolant: str = "linear"
    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None
    coupling: Literal["independent", "optimal-transport", "sinkhorn"] = "independent"
    labels: bool = True
    label_dropout: float = 0.1
    teacher: str | None = None
    init: str | None = None
    steps: int = 10_000
    batch: int = 128
    seed: int = 0
    averages: tuple[float, ...] = (0.999, 0.9999)
    power: tuple[float, ...] = ()
    checkpoint_every: int = 1_000
    out: str = "runs/run"
    audit: bool = True
    patience: int = 10
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    log: LogConfig = field(default_factory=LogConfig)
