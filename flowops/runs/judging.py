"""The settings of evaluations while a run trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _at_least(least: int) -> dict[str, Any]:
    return {"holds": lambda value: value >= least, "wanted": f"a whole number of at least {least}"}


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluations while it trains, of every average of the weights; the best is kept.

    Attributes:
        every: steps between evaluations, a multiple of checkpoint_every; 0 for none.
        samples: samples of each sampler.
        steps: numbers of steps of the map; the first one decides which average is best.
        features: features of images, as those of flowops evaluate; pixels if left out.
    """

    every: int = field(default=0, metadata={"holds": lambda n: n >= 0, "wanted": "a whole number of at least 0"})
    samples: int = field(
        default=5_000, metadata={"holds": lambda n: n >= 10, "wanted": "a whole number of at least 10"}
    )
    steps: tuple[int, ...] = (1, 2, 4)
    features: str | None = None


def check_judging(config: Any) -> None:
    """Refuse evaluations between checkpoints, and such without a number of steps.

    Raises:
        ValueError: one sentence with what was wanted, what was given, what to do.
    """
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
