r"""Five rows in JAX, one forward-mode pass each: the same network, losses, laws of the times and step as ours.

The network is that of `flowops.networks.MLP` with SiLU, its weights a list of pairs. Every loss is a function of the
weights and of a `Point` along the linear interpolant. Imported where JAX is installed only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowops.networks import MLP

FREQUENCIES = np.float32(np.pi / 2 * np.arange(1, 5))  # in single precision, as a network keeps them

Weights = Any
"""Of each layer the matrix `[inputs, outputs]` and the bias."""


class Point(NamedTuple):
    """What a loss is evaluated at: two times, two samples, and the weights of the field that is distilled."""

    s: Any
    t: Any
    x0: Any
    x1: Any
    teacher: Weights


def weights_of(network: MLP) -> Weights:
    """Those of a network in torch, in its dtype."""
    layers = [*network.hidden, network.last]
    return [tuple(p.detach().numpy().copy() for p in (each.weight.T, each.bias)) for each in layers]


def average_velocity(weights: Weights, s: Any, t: Any, x: Any) -> Any:
    """The network $v_{s,t}(x)$."""
    times = jnp.stack([s, t - s], 1)
    frequencies = jnp.asarray(FREQUENCIES, x.dtype)
    angles = (times[:, :, None] * frequencies).reshape(len(x), -1)
    h = jnp.concatenate([x, times, jnp.sin(angles), jnp.cos(angles)], 1)
    for k, (matrix, bias) in enumerate(weights):
        h = (h if k == 0 else jax.nn.silu(h)) @ matrix + bias
    return h


def flow(weights: Weights, s: Any, t: Any, x: Any) -> Any:
    """The map $X_{s,t}(x)$."""
    return x + (t - s)[:, None] * average_velocity(weights, s, t, x)


def along(weights: Weights, k: Point) -> Any:
    """The map and its derivative in t at a point between two samples, in one pass."""
    x = between(k.s, k.x0, k.x1)
    return jax.jvp(lambda q: flow(weights, k.s, q, x), (k.t,), (jnp.ones_like(k.t),))


def fm(weights: Weights, k: Point) -> Any:
    """Flow matching."""
    return squared(average_velocity(weights, k.t, k.t, between(k.t, k.x0, k.x1)) - (k.x1 - k.x0))


def lmd(weights: Weights, k: Point) -> Any:
    """Lagrangian distillation, with the gradient through the field."""
    value, dt = along(weights, k)
    return squared(dt - average_velocity(k.teacher, k.t, k.t, value))


def lsd(weights: Weights, k: Point) -> Any:
    """Lagrangian self-distillation of the whole batch, the map's own velocity a constant."""
    value, dt = along(weights, k)
    return squared(dt - jax.lax.stop_gradient(average_velocity(weights, k.t, k.t, value)))


def meanflow(weights: Weights, k: Point) -> Any:
    """MeanFlow of the whole batch."""
    velocity = k.x1 - k.x0
    primals, tangents = (k.s, between(k.s, k.x0, k.x1)), (jnp.ones_like(k.s), velocity)
    v, derivative = jax.jvp(lambda q, y: average_velocity(weights, q, k.t, y), primals, tangents)
    return squared(v - jax.lax.stop_gradient(velocity + (k.t - k.s)[:, None] * derivative))


def psd_m(weights: Weights, k: Point) -> Any:
    """Progressive self-distillation of the whole batch with the midpoint."""
    x, u = between(k.s, k.x0, k.x1), (k.s + k.t) / 2
    first = average_velocity(weights, k.s, u, x)
    second = average_velocity(weights, u, k.t, x + (u - k.s)[:, None] * first)
    return squared(average_velocity(weights, k.s, k.t, x) - jax.lax.stop_gradient((first + second) / 2))


def between(s: Any, x0: Any, x1: Any) -> Any:
    """The linear interpolant."""
    return (1 - s)[:, None] * x0 + s[:, None] * x1


def squared(difference: Any) -> Any:
    """Mean over the batch of the sum of squares."""
    return (difference**2).sum(1).mean()


LOSSES: dict[str, Callable[..., Any]] = {"fm": fm, "lmd": lmd, "lsd": lsd, "meanflow": meanflow, "psd-m": psd_m}


class Step:
    """A training step under `jit`: samples of a data set, base samples, times, loss, gradient and Adam."""

    def __init__(self, name: str, network: MLP, teacher: MLP, data: np.ndarray[Any, Any], batch: int) -> None:
        self.data, self.teacher = jnp.asarray(data), jax.tree.map(jnp.asarray, weights_of(teacher))
        self.weights = jax.tree.map(jnp.asarray, weights_of(network))
        self.optimizer = optax.adam(1e-4)
        self.state, self.key = self.optimizer.init(self.weights), jax.random.key(0)
        made = jax.jit(partial(self._step, LOSSES[name], batch), donate_argnums=(0, 1))
        self.compiled = made.lower(self.weights, self.state, self.key, self.teacher, self.data).compile()

    def _step(
        self, loss: Callable[..., Any], batch: int, weights: Weights, state: Any, key: Any, teacher: Any, data: Any
    ) -> tuple[Any, ...]:
        key, rows, noise, times = jax.random.split(key, 4)
        x1 = data[jax.random.randint(rows, (batch,), 0, len(data))]
        x0 = jax.random.normal(noise, x1.shape, x1.dtype)
        p, q = jax.random.uniform(times, (2, batch), x1.dtype)
        s, t = (p, p) if loss is fm else (jnp.minimum(p, q), jnp.maximum(p, q))
        value, gradient = jax.value_and_grad(loss)(weights, Point(s, t, x0, x1, teacher))
        updates, state = self.optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, key, value

    def __call__(self) -> float:
        """One step; the loss."""
        self.weights, self.state, self.key, value = self.compiled(
            self.weights, self.state, self.key, self.teacher, self.data
        )
        return float(value)

    @property
    def memory(self) -> float:
        """Bytes that the compiled step needs beside its arguments and results."""
        found = self.compiled.memory_analysis()
        return math.nan if found is None else float(found.temp_size_in_bytes)
