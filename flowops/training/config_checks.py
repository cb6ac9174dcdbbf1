"""What a configuration may hold: one place, one sentence for each mistake."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from flowops.training.config import TrainConfig

COUNTS = {  # name: least value
    "steps": 1,
    "batch": 1,
    "checkpoint_every": 0,
    "patience": 1,
    "network.channels": 1,
    "network.blocks": 1,
    "network.heads_width": 1,
    "network.width": 1,
    "network.depth": 1,
    "network.octaves": 0,
    "optimizer.warmup": 0,
    "optimizer.decay_start": 1,
    "hardware.devices": 1,
    "hardware.nodes": 1,
    "hardware.accumulate": 1,
    "hardware.recompute": 0,
    "hardware.threads": 0,
    "log.every": 0,
    "log.telemetry_every": 0,
    "log.sample_every": 0,
    "log.keep": 0,
}
RANGES = {  # name: least value, first value that is too large
    "optimizer.rate": (0.0, math.inf),
    "optimizer.beta1": (0.0, 1.0),
    "optimizer.beta2": (0.0, 1.0),
    "optimizer.weight_decay": (0.0, math.inf),
    "optimizer.clip": (0.0, math.inf),
    "network.dropout": (0.0, 1.0),
    "network.time_scale": (0.0, math.inf),
    "label_dropout": (0.0, 1.0),
}
FREE = {"steps", "checkpoint_every", "patience", "audit", "out", "data", "teacher", "init"}
"""Settings that may change when a run is resumed; the groups `hardware` and `log` may too."""


def check_config(config: TrainConfig) -> None:
    """Refuse numbers outside their range, and settings that exclude each other.

    Raises:
        ValueError: one sentence with what was wanted, what was given, what to do.
    """
    for name, least in COUNTS.items():
        value = _get(config, name)
        if value < least:
            raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value}; pass {least} or more.")
    for name, (low, high) in RANGES.items():
        value = _get(config, name)
        if not low <= value < high:
            raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}), got {value}; pass a number from there.")
    if config.optimizer.schedule in ("cosine", "linear") and config.optimizer.warmup >= config.steps:
        raise ValueError(
            f"`optimizer.warmup` must be below `steps` = {config.steps} for a {config.optimizer.schedule} schedule, "
            f"got {config.optimizer.warmup}; shorten it."
        )
    if config.optimizer.rate == 0:
        raise ValueError("`optimizer.rate` must be positive, got 0; pass 1e-3, say.")
    for name in ("averages", "power"):
        if not all(0 < value < 1 for value in _get(config, name)):
            raise ValueError(f"`{name}` must lie between 0 and 1, got {_get(config, name)}; pass 0.999 or 0.1, say.")
    if not (config.averages or config.power):
        raise ValueError("`averages` must hold at least one decay, got none; samples come from the first, pass 0.999.")
    if (config.alpha is None) != (config.beta is None) or (config.gamma is not None and config.alpha is None):
        raise ValueError("`alpha` and `beta` must be given together, got one of them; pass both as formulas in t.")
    if config.alpha is not None and config.interpolant != "linear":
        raise ValueError(f"`interpolant` must not be given beside `alpha`, got {config.interpolant!r}; drop one.")
    check_shares(config, config.hardware.devices * config.hardware.nodes)


def check_shares(config: TrainConfig, processes: int) -> None:
    """Refuse a batch that the processes and the parts of their batches do not divide."""
    factors = {"processes": processes, "accumulate": config.hardware.accumulate, "recompute": config.hardware.recompute}
    factors = {name: factor for name, factor in factors.items() if factor > 1}
    shares = math.prod(factors.values())
    if config.batch % shares:
        raise ValueError(
            f"`batch` must be a multiple of {' x '.join(factors)} = {' x '.join(map(str, factors.values()))}, got "
            f"{config.batch}; pass {math.ceil(config.batch / shares) * shares}, say."
        )


def check_same(config: TrainConfig, before: TrainConfig) -> None:
    """Refuse to resume a run under settings that make it another run.

    Raises:
        ValueError: naming the first of them.
    """
    for f in fields(config):
        new, old = getattr(config, f.name), getattr(before, f.name)
        if f.name in FREE or f.name in ("hardware", "log") or new == old:
            continue
        name = f.name
        if hasattr(new, "__dataclass_fields__"):
            inner = next(g.name for g in fields(new) if getattr(new, g.name) != getattr(old, g.name))
            name, new, old = f"{name}.{inner}", getattr(new, inner), getattr(old, inner)
        raise ValueError(
            f"`{name}` must stay {old!r} to resume this run, got {new!r}; drop it, or choose another --out."
        )


def _get(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value
