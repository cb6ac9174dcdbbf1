"""The units of stored samples: how they become states, and states become samples again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    r"""States are $x=(y-\text{shift})\,\text{scale}$ of stored samples $y$, as of latents.

    Args:
        scale: factor, one number or one for each entry of the first axis of a sample, its channels.
        shift: what is taken away first, likewise.

    Raises:
        ValueError, TypeError: for what is no number, is not finite, or a scale of zero.
    """

    scale: float | tuple[float, ...] = 1.0
    shift: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) and value else (value,):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise TypeError(
                        f"`{name}` must be a number, or one for each channel, got {value!r}; pass {name}=0.5, say."
                    )
                if not math.isfinite(number) or (name == "scale" and not number):
                    raise ValueError(f"`{name}` must be finite{' and not 0' * (name == 'scale')}, got {value!r}.")

    @property
    def plain(self) -> bool:
        """Whether states are the stored samples themselves."""
        return self == Units()

    def __str__(self) -> str:
        return "" if self.plain else f"minus {_told(self.shift)} times {_told(self.scale)}"

    def check(self, event: torch.Size) -> None:
        """Refuse numbers by channel that are not as many as there are.

        Raises:
            ValueError: naming both.
        """
        for name in ("scale", "shift"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != event[0]:
                raise ValueError(
                    f"`{name}` must hold one number, or {event[0]}, one for each channel of samples of shape "
                    f"{list(event)}, got {len(value)}; pass as many."
                )

    def states(self, y: Tensor) -> Tensor:
        """The states of stored samples `[n, *event]`."""
        return y if self.plain else (y - _like(self.shift, y)) * _like(self.scale, y)

    def restored(self, x: Tensor) -> Tensor:
        """The stored samples whose states these are, up to rounding."""
        return x if self.plain else x / _like(self.scale, x) + _like(self.shift, x)

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return {"scale": self.scale, "shift": self.shift}

    @classmethod
    def read(cls, found: dict[str, Any]) -> Units:
        """What `written` gave, from JSON."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def _like(value: float | tuple[float, ...], x: Tensor) -> Tensor:
    numbers = torch.tensor(value, dtype=x.dtype).to(x.device)
    return numbers.reshape(-1, *[1] * (x.ndim - 2)) if numbers.ndim else numbers


def _told(value: float | tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:g}' for number in value)})" if isinstance(value, tuple) else f"{value:g}"
