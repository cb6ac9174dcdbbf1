"""What every problem promises: reproducible samples of the asked shape and dtype, and buffers that move."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from flowops import problems
from flowops.interpolants import linear

POINTS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
FACTORIES = {
    "linear": lambda: problems.linear([[0.0, 1.0], [-1.0, -0.5]], [1.0, 0.0]),
    "rotation": lambda: problems.rotation(1.5),
    "logistic": lambda: problems.logistic(event=(2,)),
    "time_dependent_scalar": lambda: problems.time_dependent_scalar(event=(2,)),
    "pendulum": lambda: problems.pendulum(),
    "gaussian": lambda: problems.gaussian([1.0, -1.0], [[2.0, 0.5], [0.5, 1.0]], linear()),
    "gaussian_mixture": lambda: problems.gaussian_mixture([0.3, 0.7], POINTS[:2], 0.2, linear()),
    "checkerboard": lambda: problems.checkerboard(linear()),
    "empirical": lambda: problems.empirical(POINTS, linear()),
}


@pytest.fixture(params=FACTORIES)
def problem(request):
    return FACTORIES[request.param]()


def test_every_factory_is_exported_and_names_its_problem(problem):
    assert set(problems.__all__) == {*FACTORIES, "Problem", "REFERENCE"}
    assert problem.name in FACTORIES
    assert problem.event == (2,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_have_the_shape_and_dtype_asked_for_and_follow_the_generator(problem, dtype):
    def draw(t):
        return problem.sample(t, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)

    for t in (0.0, 0.4, 1.0, torch.linspace(0, 1, 6, dtype=dtype)):
        x = draw(t)
        assert x.shape == (6, 2)
        assert x.dtype == dtype
        torch.testing.assert_close(x, draw(t), rtol=0, atol=0)
        assert problem.b(t, x).dtype == dtype
    for x in (problem.sample_base(3, dtype=dtype), problem.sample_data(3, dtype=dtype)):
        assert x.shape == (3, 2)
        assert x.dtype == dtype


def test_a_sample_at_time_zero_is_the_base_sample(problem):
    base = problem.sample_base(4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(problem.sample(0.0, 4, generator=torch.Generator().manual_seed(2)), base)


def test_moving_the_buffers_to_float32_changes_values_by_rounding_only(problem, generator):
    x = problem.sample(0.5, 5, generator=generator, dtype=torch.float32)
    before = problem.b(0.5, x)
    assert problem.to(torch.float32) is problem
    assert all(b.dtype != torch.float64 for b in problem.b.buffers())
    torch.testing.assert_close(problem.b(0.5, x), before, rtol=1e-4, atol=1e-5)


def test_wide_times_and_narrow_states_come_back_in_the_dtype_of_the_state(problem, generator):
    x = problem.sample(0.5, 5, generator=generator, dtype=torch.float32)
    t = torch.full((5,), 0.5, dtype=torch.float64)
    u = torch.ones_like(x)
    values = [problem.b(t, x), problem.b.jvp(t, x, u), problem.b.jacobian(t, x), problem.b(t.float(), x.bfloat16())]
    if problem.X is not None:
        X, s = problem.X, 0.5 * t
        values += [X(s, t, x), *X.value_and_dt(s, t, x), X.ds(s, t, x), X.jvp(s, t, x, u), X.jacobian(s, t, x)]
        values += [X.log_abs_det(s, t, x), X.material_derivative(s, t, x, u)]
    assert [v.dtype for v in values] == [torch.float32] * 3 + [torch.bfloat16] + [torch.float32] * (len(values) - 4)


@pytest.mark.usefixtures("unchecked")
def test_fields_and_maps_work_inside_vmap_jvp_and_compile(problem, generator):
    x = problem.sample(0.5, 4, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.2, 0.9, 4, dtype=torch.float64)
    by_sample = torch.func.vmap(lambda tau, y: problem.b(tau, y[None])[0])(t, x)
    torch.testing.assert_close(by_sample, problem.b(t, x))
    torch._dynamo.reset()  # every field compiles the same code, of which the compiler counts the compilations
    torch.testing.assert_close(torch.compile(problem.b, fullgraph=True, backend="eager")(t, x), problem.b(t, x))
    tangent = torch.func.jvp(lambda y: problem.b(t, y), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, problem.b.jvp(t, x, torch.ones_like(x)))
    if problem.X is not None:
        by_sample = torch.func.vmap(lambda tau, y: problem.X(0.1, tau, y[None])[0])(t, x)
        torch.testing.assert_close(by_sample, problem.X(0.1, t, x))


@pytest.mark.usefixtures("unchecked")
def test_fields_and_maps_have_shapes_without_values_and_a_graph(problem, generator):
    """Nothing looks at values where there are none, or where an operation is written down."""
    x = problem.sample(0.5, 4, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.2, 0.9, 4, dtype=torch.float64)
    graph = make_fx(problem.b)(t, x)
    torch.testing.assert_close(graph(t / 2, 2 * x), problem.b(t / 2, 2 * x))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        s, y = mode.from_tensor(t), mode.from_tensor(x)
        assert problem.b(s, y).shape == x.shape
        if problem.X is not None:
            assert problem.X.average_velocity(s / 2, s, y).shape == x.shape


def test_a_problem_without_a_map_and_without_an_interpolant_is_sampled_by_solving():
    exact = problems.rotation(1.0)
    solved = problems.Problem("solved", exact.b, None, None, exact.event, exact.base)
    x = [p.sample(0.7, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) for p in (exact, solved)]
    torch.testing.assert_close(x[0], x[1], rtol=1e-7, atol=1e-7)


def test_bad_draws_are_refused(problem):
    with pytest.raises(ValueError, match="`n` must be a whole number of at least 1, got 0"):
        problem.sample_base(0)
    with pytest.raises(TypeError, match="`dtype` must be a floating dtype, got torch.int64"):
        problem.sample(0.5, 2, dtype=torch.int64)


def test_a_law_without_a_closed_form_says_so(problem):
    x = problem.sample_base(3, dtype=torch.float64)
    if problem.interpolant is not None:
        assert problem.log_prob(0.5, x).shape == (3,)
        return
    for call in (problem.log_prob, problem.score):
        with pytest.raises(ValueError, match=f"The {problem.name} problem has no density in closed form"):
            call(0.5, x)
