"""Work and precision of solvers on one batch: ours, torchdiffeq, torchode and diffrax, processor time of one process.

    OMP_NUM_THREADS=1 taskset -c 0 python -m experiments.benchmarks.solvers --write experiments/results/solvers.md

Planar mixture samples (eight modes) in float64, each with its own (s, t). Every solver is given the same field, in
torch or in JAX, and the same tolerances; what is not installed (`pip install 'flowops[benchmarks]'`) is left out.
Rounds are interleaved; a time is the median of processor seconds, which do not count what was waited for a core. The
last column is the time at the worst error 2e-11, along the line in logarithms through the two nearest points, over that
of diffrax's best.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from experiments.benchmarks.page import Headline, about, installed, left_out, parser, publish, table
from experiments.benchmarks.solution_operator import ring
from experiments.benchmarks.timing import medians, pin
from flowops import SolutionOperator, VelocityField
from flowops.pictures import new_figure, save_figure

WANTED = 2e-11
TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)
MODES, RADIUS, DEVIATION = 8, 4.0, 0.3
PEERS = ("torchdiffeq", "torchode", "diffrax", "jax")

Solve = Callable[[float], np.ndarray[Any, Any]]
"""The ends of all samples, of a tolerance."""


def rescaled(b: VelocityField, s: Tensor, t: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The field of the place from 0 to 1 between both times."""
    h = (t - s)[:, None]
    return lambda r, y: h * b(torch.lerp(s, t, r.to(s.dtype)), y)


def of_torch(b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Iterator[tuple[str, Solve]]:
    """Solvers of a field in torch."""

    def ours(method: str, tolerance: float) -> np.ndarray[Any, Any]:
        return SolutionOperator(b, method=method, rtol=tolerance, atol=tolerance)(s, t, x).numpy()

    def bare(method: str, tolerance: float) -> np.ndarray[Any, Any]:
        grid = x.new_tensor([0.0, 1.0])
        return odeint(rescaled(b, s, t), x, grid, rtol=tolerance, atol=tolerance, method=method)[-1].numpy()

    def compiled(tolerance: float) -> np.ndarray[Any, Any]:
        field = VelocityField.from_function(fast)
        return SolutionOperator(field, rtol=tolerance, atol=tolerance)(s, t, x).numpy()

    def evaluated(tau: Tensor, y: Tensor) -> Tensor:
        return b(tau, y)

    fast: Any = torch.compile(evaluated, dynamic=True)
    for method in ("dopri8", "tsit5", "dopri5"):
        yield f"flowops {method}", partial(ours, method)
    yield "flowops dopri8, compiled field", compiled
    for method in ("dopri8", "dopri5"):
        yield f"torchdiffeq {method}", partial(bare, method)
    if installed("torchode"):
        import torchode

        for method in ("Tsit5", "Dopri5"):
            term = torchode.ODETerm(rescaled(b, s, t))
            step = getattr(torchode, method)(term=term)

            def theirs(tolerance: float, term: Any = term, step: Any = step) -> np.ndarray[Any, Any]:
                control = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
                solver = torchode.AutoDiffAdjoint(step, control)
                ends = torchode.InitialValueProblem(
                    y0=x, t_start=torch.zeros_like(s), t_end=torch.ones_like(s), t_eval=torch.ones_like(s)[:, None]
                )
                found: np.ndarray[Any, Any] = solver.solve(ends).ys[:, -1].numpy()
                return found

            yield f"torchode {method}", theirs


def of_jax(s: Tensor, t: Tensor, x: Tensor) -> Iterator[tuple[str, Solve]]:
    """Solvers of the same field in JAX, `vmap` over the samples, compiled before they are timed."""
    if not installed("diffrax"):
        return
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    angles = jnp.arange(MODES) * 2 * jnp.pi / MODES
    means = RADIUS * jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)

    def field(tau: Any, y: Any, _: Any) -> Any:
        alpha, variance = 1 - tau, (1 - tau) ** 2 + (tau * DEVIATION) ** 2
        apart = y - tau * means
        weights = jax.nn.softmax(-(apart**2).sum(1) / (2 * variance))
        return weights @ (means + (tau * DEVIATION**2 - alpha) / variance * apart)

    s_, t_, x_ = (jnp.asarray(z.numpy()) for z in (s, t, x))
    for method in ("Dopri8", "Tsit5"):

        def one(start: Any, end: Any, y: Any, tolerance: Any, method: str = method) -> Any:
            control = diffrax.PIDController(rtol=tolerance, atol=tolerance, norm=lambda z: jnp.abs(z).max())
            return diffrax.diffeqsolve(
                diffrax.ODETerm(field), getattr(diffrax, method)(), start, end, None, y,
                stepsize_controller=control, saveat=diffrax.SaveAt(t1=True), max_steps=None,
                adjoint=diffrax.ForwardMode(),
            ).ys[0]  # fmt: skip

        compiled = jax.jit(jax.vmap(one, (0, 0, 0, None)))

        def theirs(tolerance: float, compiled: Any = compiled) -> np.ndarray[Any, Any]:
            return np.asarray(compiled(s_, t_, x_, tolerance).block_until_ready())

        yield f"diffrax {method}, vmap, jit", theirs


def measured(solvers: dict[str, Solve], truth: np.ndarray[Any, Any], rounds: int) -> dict[str, list[tuple[float, ...]]]:
    """Tolerance, processor seconds and worst error of each solver."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in solvers}
    for tolerance in TOLERANCES:
        errors = {name: float(np.abs(solve(tolerance) - truth).max()) for name, solve in solvers.items()}
        seconds = medians({name: partial(solve, tolerance) for name, solve in solvers.items()}, rounds)
        for name in solvers:
            found[name].append((tolerance, seconds[name].processor, errors[name]))
    return found


def at(points: list[tuple[float, ...]], wanted: float) -> float:
    """The seconds at a worst error, along the line in logarithms through the two nearest points of the front."""
    front = sorted((math.log(error), math.log(seconds)) for _, seconds, error in points)
    k = next((k for k in range(1, len(front)) if front[k][0] >= math.log(wanted)), len(front) - 1)
    (a, p), (b, q) = front[k - 1], front[k]
    return math.exp(p + (q - p) * (math.log(wanted) - a) / ((b - a) or 1.0))


def best_peer(found: dict[str, list[tuple[float, ...]]]) -> float:
    """The seconds of diffrax's best at the worst error that is asked for; NaN without it."""
    return min((at(points, WANTED) for name, points in found.items() if name.startswith("diffrax")), default=math.nan)


def rows(found: dict[str, list[tuple[float, ...]]]) -> str:
    """The table."""
    best, lines = best_peer(found), []
    for name, points in found.items():
        cells = [f"{1000 * seconds:.0f} ({error:.0e})" for _, seconds, error in points]
        lines.append((name, *cells, "" if math.isnan(best) else f"{at(points, WANTED) / best:.2f}"))
    head = ("milliseconds (worst error) at", *(f"{q:g}" for q in TOLERANCES), f"at {WANTED:g} / diffrax")
    return table(head, lines)


def picture(path: Path, found: dict[str, list[tuple[float, ...]]]) -> None:
    """Worst error over time, one line for each solver."""
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for k, (name, points) in enumerate(found.items()):
        style = {"linewidth": 2.0} if name.startswith("flowops") else {"linestyle": "--", "linewidth": 1.0}
        seconds, errors = ([point[k] for point in points] for k in (1, 2))
        axes.loglog([1000 * each for each in seconds], errors, marker=".", color=f"C{k}", label=name, **style)
    axes.axhline(WANTED, color="grey", linewidth=0.6)
    axes.set(xlabel="processor time, ms", ylabel="worst error")
    figure.legend(fontsize=7, loc="outside right center")
    save_figure(path, figure)


def headlines(found: dict[str, list[tuple[float, ...]]]) -> list[Headline]:
    """Our default over diffrax's best, in eager mode and with a compiled field."""
    best = best_peer(found)
    if math.isnan(best):
        return []
    wanted = {"flowops dopri8": "1.5", "flowops dopri8, compiled field": "1.0"}
    return [
        Headline(
            f"solve, {name}: time / diffrax at worst error {WANTED:g}", f"{at(found[name], WANTED) / best:.2f}", most
        )
        for name, most in wanted.items()
        if name in found
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--samples", type=int, default=4_000)
    each.add_argument("--rounds", type=int, default=5)
    each.add_argument("--only", default="", help="solvers whose names match this pattern")
    args = each.parse_args(words)
    if args.quick:
        args.samples, args.rounds = 20, 1
    pin(1)
    generator = torch.Generator().manual_seed(0)
    target = ring(MODES, RADIUS, DEVIATION)
    s, t = torch.rand(2, args.samples, generator=generator, dtype=torch.float64)
    x = target.sample(s, args.samples, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        truth = SolutionOperator(target.b, method="torchdiffeq:dopri8", rtol=1e-13, atol=1e-13)(s, t, x).numpy()
        every = dict([*of_torch(target.b, s, t, x), *of_jax(s, t, x)])
        found = measured(
            {name: solve for name, solve in every.items() if re.search(args.only, name)}, truth, args.rounds
        )
    lines = [about(f"{args.samples} samples, {args.rounds} rounds", peers=PEERS), *left_out(PEERS)]
    if args.write:
        picture(args.write.with_suffix(".png"), found)
        lines.append(f"![work and precision]({args.write.stem}.png)")
    publish(args, "Work and precision of solvers", __doc__, [*lines, rows(found)], headlines(found))


if __name__ == "__main__":
    main()
