"""A run distils another one: its field or its map, on its own schedule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flowops.fields import VelocityField
from flowops.maps import reschedule
from flowops.training import TrainConfig, train
from flowops.training.assembly import assemble
from flowops.training.teacher import teacher_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
Make = Callable[..., TrainConfig]


@pytest.mark.parametrize("name", ["lmd", "emd", "pfmm", "pd", "fm"])
def test_a_run_is_the_teacher_of_another_on_its_own_schedule(small: Make, name: str) -> None:
    teacher = small("teacher", method="fm", steps=4)
    train(teacher, report=print)
    if name == "fm":
        with pytest.raises(ValueError, match="`teacher` must not be given for fm"):
            train(small(method=name, teacher=teacher.out), report=print)
        return
    config = small(method=name, teacher=teacher.out, interpolant="trigonometric", steps=2)
    assert bool(train(config, report=print).sample(4).isfinite().all())


def test_a_teacher_of_another_schedule_is_moved_to_that_of_the_run(small: Make) -> None:
    teacher = train(small("teacher", method="fm", steps=2), report=print)
    assembly = assemble(small(method="lmd", interpolant="trigonometric"), torch.device("cpu"))
    config = small(method="lmd", interpolant="trigonometric", teacher=str(teacher.folder.path))
    found = teacher_of(config, assembly, torch.device("cpu"))
    x, t = teacher.base(6), torch.linspace(0.1, 0.9, 6)
    wanted = reschedule(teacher.X.velocity(), teacher.interpolant, assembly.interpolant)
    assert isinstance(found, VelocityField)
    torch.testing.assert_close(found(t, x), wanted(t, x))
    assert not torch.allclose(wanted(t, x), teacher.X.velocity()(t, x))


def test_a_method_with_a_teacher_says_what_it_misses(small: Make) -> None:
    with pytest.raises(ValueError, match="pass --teacher RUN"):
        train(small(method="lmd"), report=print)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(small("other", method="lmd", teacher="nowhere"), report=print)
