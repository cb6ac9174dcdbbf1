r"""Grids of times $0=t_0<\dots<t_k=1$ along which a sampler steps from noise to data, as plain lists of numbers.

Good steps of a diffusion sampler are placed by the noise level $\sigma_t=\alpha_t/\beta_t$, which means different times
on every interpolant; `noise_levels` translates them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from flowops._arguments import number, whole
from flowops._files import write_text
from flowops.interpolants import Interpolant, time_of_noise_level


def uniform(steps: int) -> list[float]:
    r"""$t_i=i/k$ for $k$ steps.

    Raises:
        ValueError: unless `steps` is at least 1.
    """
    k = whole(steps, "steps", 1)
    return [i / k for i in range(k + 1)]


def noise_levels(
    steps: int, interpolant: Interpolant, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> list[float]:
    r"""The times at which the noise level $\alpha_t/\beta_t$ is that of the EDM grid.

    $$ \sigma_i=\Big(\sigma_{\max}^{1/\rho}+\tfrac i{k-1}(\sigma_{\min}^{1/\rho}-\sigma_{\max}^{1/\rho})\Big)^\rho,
       \qquad i=0,\dots,k-1,\qquad\sigma_k=0 $$

    The first time is 0 exactly, the last one 1: the base takes the place of the noise level `sigma_max`.

    Raises:
        ValueError: unless $k\ge1$, $\rho>0$ and $0<\sigma_{\min}<\sigma_{\max}$; for an interpolant with a gamma term;
            and if two of the times agree, because the noise levels leave the range of the interpolant.

    Source: Karras et al. 2206.00364 (5).
    """
    whole(steps, "steps", 1)
    rho, low, high = number(rho, "rho"), number(sigma_min, "sigma_min"), number(sigma_max, "sigma_max")
    if not (rho > 0 and 0 < low < high):
        raise ValueError(
            f"`sigma_min` and `sigma_max` must be positive and increasing and `rho` positive, got {low:g}, {high:g} "
            f"and {rho:g}; pass rho=7, sigma_min=0.002, sigma_max=80."
        )
    place = torch.arange(1, steps, dtype=torch.float64) / max(steps - 1, 1)
    sigma = torch.lerp(torch.tensor(high).double() ** (1 / rho), torch.tensor(low).double() ** (1 / rho), place) ** rho
    grid = [0.0, *time_of_noise_level(interpolant, sigma).tolist(), 1.0]
    return check_grid(grid, "The grid of these noise levels")


def load_grid(path: Path | str, steps: int | None = None) -> list[float]:
    """A grid from a JSON file: a list of strictly increasing times from 0 to 1, or one of several by their steps.

    Args:
        path: the file, with `[0, 0.4, 1]`, or `{"1": [0, 1], "2": [0, 0.4, 1]}` as `optimal_grids(...).save` writes it.
        steps: which of several; may be left out for a single one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such list, or holds no grid of so many steps; the sentence names the file.
    """
    found = load_grids(path)
    if steps is None and len(found) == 1:
        return next(iter(found.values()))
    if steps not in found:
        held, given = ", ".join(map(str, found)), "no number" if steps is None else steps
        raise ValueError(f"`steps` must be {'one of ' * (len(found) > 1)}{held} for the grids in {path}, got {given}.")
    return found[steps]


def load_grids(path: Path | str) -> dict[int, list[float]]:
    """The grids in a JSON file by their numbers of steps, as `load_grid` reads one of them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no grids; the sentence names the file.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f"`grid` must name a file with a list of times, and {path} is none; check the path."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must hold a JSON list of times, and is not JSON ({error}); write [0, 0.5, 1]."
        ) from None
    if isinstance(held, dict) and held and all(name.isdecimal() for name in held):
        every = {name: check_grid(grid, f"Grid {name} in {path}") for name, grid in held.items()}
        for name, grid in every.items():
            if name != str(len(grid) - 1):
                raise ValueError(f"Grid {name} in {path} must have {name} steps, got {len(grid) - 1}; rename it.")
        return {int(name): grid for name, grid in every.items()}
    if not isinstance(held, list):
        raise ValueError(f"{path} must hold a JSON list of times, got {type(held).__name__}; write [0, 0.5, 1].")
    grid = check_grid(held, str(path))
    return {len(grid) - 1: grid}


def save_grids(path: Path | str, found: Mapping[int, Sequence[float]]) -> None:
    """Write grids to a JSON file, by their numbers of steps, as `load_grids` reads them."""
    lines = [f'"{steps}": {json.dumps(check_grid(list(grid)))}' for steps, grid in sorted(found.items())]
    write_text(path, "{\n " + ",\n ".join(lines) + "\n}\n")


def check_grid(grid: object, name: str = "`grid`") -> list[float]:
    """The grid as a list of floats.

    Raises:
        TypeError, ValueError: unless it is a sequence of at least two strictly increasing numbers from 0 to 1.
    """
    if isinstance(grid, str | bytes) or not isinstance(grid, Sequence):
        raise TypeError(f"{name} must be a list of times, got {type(grid).__name__}; pass grids.uniform(4).")
    times: list[float] = []
    for value in grid:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must hold numbers only, got {value!r}; write [0, 0.5, 1].")
        if isinstance(value, int) and value not in (0, 1):
            raise ValueError(f"{name} must hold times from 0 to 1, got a whole number beyond them; write [0, 0.5, 1].")
        times.append(float(value))
    if len(times) < 2 or times[0] != 0 or times[-1] != 1:
        raise ValueError(f"{name} must run from 0 to 1, got {_brief(times)}; begin it with 0 and end it with 1.")
    for i, (s, t) in enumerate(zip(times[:-1], times[1:], strict=True)):
        if not s < t:
            raise ValueError(f"{name} must increase strictly, got {s!r} before {t!r} at place {i}; remove one of them.")
    return times


def _brief(times: list[float]) -> str:
    return f"{times[0]:g} to {times[-1]:g}" if len(times) > 1 else f"{len(times)} time" + "s" * (len(times) != 1)
