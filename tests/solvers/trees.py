r"""Rooted trees, and the order conditions of Runge-Kutta methods that belong to them.

A tree is the sorted tuple of its branches. A method is of order $p$ if $\sum_ib_i\Phi_i(\tau)=1/\gamma(\tau)$ for every
tree $\tau$ of at most $p$ nodes. Source: Hairer, Nørsett, Wanner, Solving ODEs I, §II.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

Tree = tuple[Any, ...]


@cache
def trees(nodes: int) -> tuple[Tree, ...]:
    """All rooted trees of this many nodes."""
    return tuple(sorted(set(forests(nodes - 1, nodes - 1))))


def forests(nodes: int, largest: int) -> Iterator[Tree]:
    """Multisets of trees with this many nodes together, none of more than `largest`."""
    if nodes == 0:
        yield ()
        return
    for size in range(1, min(nodes, largest) + 1):
        for count in range(1, nodes // size + 1):
            for rest in forests(nodes - size * count, size - 1):
                for chosen in combinations_with_replacement(trees(size), count):
                    yield tuple(sorted((*chosen, *rest)))


def size(tree: Tree) -> int:
    """The number of nodes."""
    return 1 + sum(map(size, tree))


def density(tree: Tree) -> int:
    r"""$\gamma(\tau)$: the product of the sizes of all subtrees."""
    product = size(tree)
    for branch in tree:
        product *= density(branch)
    return product


def weights(tree: Tree, a: Sequence[Sequence[Any]], known: dict[Tree, list[Any]]) -> list[Any]:
    r"""$\Phi_i(\tau)=\prod_k\sum_ja_{ij}\Phi_j(\tau_k)$ over the branches $\tau_k$; those of others are `known`."""
    if tree in known:
        return known[tree]
    result = [1] * len(a)
    for branch in tree:
        inner = weights(branch, a, known)
        moved = [sum((w * v for w, v in zip(row, inner, strict=False)), 0) for row in a]
        result = [p * q for p, q in zip(result, moved, strict=True)]
    known[tree] = result
    return result


def defects(chosen: Sequence[Tree], a: Sequence[Sequence[Any]], b: Sequence[Any]) -> list[Any]:
    r"""$\gamma(\tau)\sum_ib_i\Phi_i(\tau)-1$ of each tree, without its sign."""
    known: dict[Tree, list[Any]] = {}
    return [
        abs(density(tree) * sum((w * v for w, v in zip(b, weights(tree, a, known), strict=False)), 0) - 1)
        for tree in chosen
    ]
