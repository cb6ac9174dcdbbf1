r"""Path: X.path(s, (t_1, ..., t_k), x) = (X_{s,t_1}(x), ..., X_{s,t_k}(x)), in any order of the times.

Hypotheses: $X$ is the flow map of a field. Then a path is also the composition along $s,t_1,\dots,t_k$, which is how a
solution operator takes it: one solve from each time to the next, forward and back. On a map that is the flow of nothing
the two differ by its semigroup defect. Ground truth: closed-form maps, for the path of a solve of their field.

Source: 2505.18825 (4), Prop. 2.2 (10).
"""

from collections.abc import Sequence

import torch
from hypothesis import given
from torch import Tensor

from flowops import FlowMap
from theory_checks.cases import SINGLE, SOLVED, Case, solved
from theory_checks.controls import Perturbed
from theory_checks.strategies import Example, SmoothField, events, examples, few, normal, seeds
from theory_checks.verdicts import Check

TIMES = [0.1, 0.9, 0.35, 0.35, 0.6, 0.2, 1.0, 0.0]  # forward, backward, twice the same; 0.35 is the start below


def one_by_one(X: FlowMap, s: Tensor | float, times: Sequence[Tensor | float], x: Tensor) -> Tensor:
    """The map to each time on its own."""
    return torch.stack([X(s, t, x) for t in times])


@few
@given(e=examples())
def test_every_state_is_the_map_to_its_time(case: Case, check: Check, e: Example) -> None:
    x, times = case.states(e.batch, e.seed), [e.t, e.u, e.s, 1.0, e.u]
    path = case.X.path(e.s, times, x)
    assert path.shape == (len(times), *x.shape)
    scale = torch.stack([torch.as_tensor(case.scale(e.s, t, x)) for t in times]).max()
    check.vanishes(path - one_by_one(case.fine, e.s, times, x), case.tolerance, scale=scale)


def test_it_is_the_composition_along_its_times(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    path, composed = case.X.path(0.35, TIMES, x), case.X.compose([0.35, *TIMES], x, trajectory=True)
    check.vanishes(path - composed[1:], case.tolerance, scale=1 + path.abs().max())


def test_a_solve_follows_the_closed_form(case: Case, check: Check) -> None:
    x = case.states(3, 2)
    truth = one_by_one(case.fine, 0.35, TIMES, x)
    solved = case.b.flow_map().path(0.35, TIMES, x)
    check.vanishes(solved - truth, max(SOLVED, case.tolerance), scale=1 + truth.abs().max())


@few
@given(e=examples(), event=events, seed=seeds)
def test_random_smooth_fields(check: Check, e: Example, event: tuple[int, ...], seed: int) -> None:
    X, x, times = (
        solved(SmoothField(event, seed).requires_grad_(False)),
        normal(e.seed, e.batch, *event),
        [e.u, e.t, e.s],
    )
    check.vanishes(X.path(e.s, times, x) - one_by_one(X, e.s, times, x), SOLVED, scale=1 + x.abs().max())


def test_times_per_sample(case: Case, check: Check) -> None:
    x, s = case.states(3, 3), torch.tensor([0.2, 0.5, 0.9]).double()
    times = torch.tensor([[0.7, 0.5, 0.1], [0.0, 1.0, 0.9]]).double()
    path = case.X.path(s, times, x)
    for i in range(len(x)):
        alone = case.fine.path(float(s[i]), times[:, i].tolist(), x[i : i + 1])[:, 0]
        check.vanishes(path[:, i] - alone, case.tolerance, scale=1 + path.abs().max())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 4).float()
    path = case.X.path(0.3, [0.7, 0.3, 0.1], x)
    assert path.dtype == torch.float32
    truth = case.X.path(0.3, [0.7, 0.3, 0.1], x.double())
    check.vanishes(path - truth, SINGLE, scale=1 + truth.abs().max())


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 5)
    maps = [Perturbed(case.X, delta) for delta in (1e-3, 5e-4)]
    truth = case.X.path(0.1, [0.5, 0.9], x)
    wrong, half = (X.path(0.1, [0.5, 0.9], x) for X in maps)
    check.sees(wrong - truth, half - truth, case.tolerance)
    composed = [X.compose([0.1, 0.5, 0.9], x, trajectory=True)[1:] for X in maps]
    check.sees(wrong - composed[0], half - composed[1], case.tolerance)
