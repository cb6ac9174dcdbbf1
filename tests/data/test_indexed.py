"""Map-style data sets of torch: keyed draws of random items, exact resume, and what is refused in one sentence."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from flowops.data import Images, Indexed, Prefetched, Split, open_dataset
from flowops.training import train
from tests.data.image_files import pixels, planes
from tests.examples import normal
from tests.runs.small import Make, silent
from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import small as small
from tests.training.states import assert_same_bits, state_of

X = normal(12, 3).float()
LABELS = torch.arange(12) % 3


class Listed(Dataset[Any]):
    """Items as they are given, or made from their number."""

    def __init__(self, items: Any, count: int | None = None) -> None:
        self.items, self.count = items, len(items) if count is None else count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Any:
        return self.items(row) if callable(self.items) else self.items[row]


def noisy(row: int) -> Tensor:
    """A random item that draws from all three global generators."""
    return X[row] + torch.randn(3) + random.random() + float(np.random.rand())


def noisy_set() -> Dataset[Any]:
    """A factory of one's own."""
    return Listed(noisy, 12)


def same(a: Any, b: Any) -> bool:
    return all((p is None and q is None) or torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_the_rows_are_those_of_every_finite_set() -> None:
    images = torch.from_numpy(np.stack([planes(pixels(k)) for k in range(7)]))
    labels = torch.arange(7) % 3
    plain = Images("x", {"train": Split(images, labels)}, provenance="x")
    found = Indexed(TensorDataset(images, labels))
    for step in range(4):
        assert same(found.batch(step, 5, seed=3), plain.batch(step, 5, seed=3))
    assert same(found.reference(6, seed=1), plain.reference(6, seed=1))
    assert (found.event, found.size, len(found), found.classes) == (torch.Size([3, 4, 5]), 7, 7, ("0", "1", "2"))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_random_items_follow_from_seed_step_and_place(workers: int) -> None:
    data, again = Indexed(noisy_set(), workers=workers), Indexed(noisy_set())
    first = data.batch(3, 8, seed=5)
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)
    assert same(first, again.batch(3, 8, seed=5))  # whatever the global generators were
    for part in range(4):  # and whatever the share of a process
        assert torch.equal(data.prepared(3, 8, seed=5, part=(part, 4))().x1, first.x1[part::4])
    for other in (data.batch(4, 8, seed=5), data.batch(3, 8, seed=6)):
        assert not torch.equal(first.x1, other.x1)
    twice = data.batch(0, 24, seed=0).x1  # every row twice, with other draws
    assert len(twice.unique(dim=0)) == 24
    assert data.provenance == again.provenance


def test_the_global_generators_are_put_back() -> None:
    data = Indexed(noisy_set())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    data.batch(0, 4, seed=0)
    found = (torch.rand(1).item(), random.random(), float(np.random.rand()))
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert found == (torch.rand(1).item(), random.random(), float(np.random.rand()))


def test_items_are_read_ahead() -> None:
    data = Indexed(TensorDataset(X), random=False)
    with Prefetched(data, 5, seed=0, start_step=2) as batches:
        assert same(next(batches), data.batch(2, 5, seed=0))
        assert same(next(batches), data.batch(3, 5, seed=0))


@pytest.mark.parametrize("items", [noisy_set, lambda: TensorDataset(X, LABELS)], ids=["random", "labelled"])
def test_a_run_that_is_resumed_is_the_run_that_was_not(small: Make, items: Callable[[], Any]) -> None:
    whole = small("whole", steps=6, checkpoint_every=3)
    train(whole, dataset=items(), report=silent)
    torch.manual_seed(77)  # what comes between must not matter
    parts = small("parts", steps=3, checkpoint_every=3)
    train(parts, dataset=items(), report=silent)
    resumed = small("parts", steps=6, checkpoint_every=3)
    train(resumed, dataset=items(), resume=True, report=silent)
    assert_same_bits(state_of(whole, 6), state_of(resumed, 6))
    other = small("other", steps=6, checkpoint_every=3, seed=1)
    train(other, dataset=items(), report=silent)
    found, wanted = state_of(other, 6), state_of(whole, 6)
    assert any(not torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_run_is_not_resumed_on_other_items(small: Make) -> None:
    train(small(steps=2), dataset=TensorDataset(X), report=silent)
    with pytest.raises(ValueError, match="`dataset` must stay 'indexed: 12 train samples .* to resume this run"):
        train(small(steps=4), dataset=TensorDataset(X + 1), resume=True, report=silent)


def test_factories_of_torch_data_sets_are_opened_by_name() -> None:
    found = open_dataset(f"{__name__}:noisy_set")
    assert isinstance(found, Indexed)
    assert same(found.batch(1, 3, seed=0), Indexed(noisy_set()).batch(1, 3, seed=0))


@pytest.mark.parametrize(
    ("item", "event"),
    [
        (lambda row: (X[row], int(LABELS[row])), (3,)),
        (lambda row: (X[row].half(), LABELS[row]), (3,)),
        (lambda row: {"x1": X[row].numpy(), "label": np.int64(LABELS[row])}, (3,)),
        (lambda row: {"other": 1, "image": Image.fromarray(pixels(row)), "label": int(LABELS[row])}, (3, 4, 5)),
        (lambda row: {"x": X[row].tolist(), "labels": int(LABELS[row])}, (3,)),
        (lambda row: (torch.from_numpy(planes(pixels(row))), LABELS[row : row + 1]), (3, 4, 5)),
    ],
    ids=["tuple", "half", "mapping", "picture", "list", "bytes"],
)
def test_items_of_many_kinds(item: Callable[[int], Any], event: tuple[int, ...]) -> None:
    data = Indexed(Listed(item, 12), classes=3)
    batch = data.batch(0, 12, seed=0)
    assert (batch.x1.dtype, batch.x1.shape) == (torch.float32, (12, *event))
    assert batch.labels is not None
    kept = data.reference(12)
    assert kept.labels is not None
    if len(event) == 1:
        rows = (kept.x1[:, None] - X).abs().sum(-1).argmin(1)
        assert_close(kept.x1, X[rows], rtol=1e-3, atol=1e-3)
        assert torch.equal(kept.labels, LABELS[rows])
    else:
        assert sorted(kept.x1.flatten(1).sum(1).tolist()) == pytest.approx(
            sorted(float((pixels(row) / 127.5 - 1).sum()) for row in range(12)), abs=1e-3
        )
    assert Indexed(Listed(item, 12), label=False).batch(0, 2, seed=0).labels is None


@pytest.mark.parametrize("items", [lambda k: (X[k], 2 * X[k]), lambda k: {"x1": X[k], "condition": 2 * X[k].numpy()}])
def test_labels_with_continuous_values_are_conditions(items: Callable[[int], Any], small: Make) -> None:
    data = Indexed(Listed(items, 12))
    assert (data.condition, data.classes) == (torch.Size([3]), ())
    batch = data.batch(1, 8, seed=0)
    assert batch.labels is not None
    assert torch.equal(batch.labels, 2 * batch.x1)
    run = train(small(steps=1), dataset=data, report=silent)
    assert run.sample(2, condition=X[:2]).shape == (2, 3)
    with pytest.raises(ValueError, match=r"all have a condition of shape \[3\] like the first, got a label at item 4"):
        Indexed(Listed(lambda k: items(k) if k != 4 else (X[k], 1), 12))


def test_classes_are_what_the_set_says() -> None:
    named = Listed([(X[k], int(LABELS[k])) for k in range(12)])
    named.classes = ["a", "b", "c"]  # type: ignore[attr-defined]
    assert Indexed(named).classes == ("a", "b", "c")
    assert Indexed(Subset(named, range(4))).classes == ("a", "b", "c")
    targets = Listed(named.items)
    targets.targets = LABELS.tolist()  # type: ignore[attr-defined]
    assert Indexed(targets).classes == ("0", "1", "2")
    assert Indexed(targets, classes=["p", "q", "r", "s"]).classes == ("p", "q", "r", "s")
    with pytest.raises(ValueError, match=r"`classes` must be given for indexed.*Indexed\(items, classes=10\)"):
        Indexed(Listed(named.items))
    with pytest.raises(ValueError, match="must be below its 2 classes, got 2 at item 2; pass classes=3 or more"):
        Indexed(named, classes=2)


def test_a_split_for_tests_is_another_set() -> None:
    data = Indexed(TensorDataset(X), test=TensorDataset(X[:4] + 9))
    assert data.reference(4, split="test").x1.min() > 4
    with pytest.raises(ValueError, match="`split` must be one of train, test for indexed, got 'val'"):
        data.reference(1, split="val")


class Own(Dataset[Any]):
    """A transform with a generator of its own."""

    def __init__(self) -> None:
        self.source = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, row: int) -> Tensor:
        return X[row] + torch.rand(3, generator=self.source)


class Endless(IterableDataset[Any]):
    """A stream."""

    def __iter__(self) -> Any:
        return iter(X)


def changed(row: int, item: Any) -> Listed:
    return Listed([item if k == row else (X[k], 0) for k in range(12)])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("items", "error", "sentence"),
    [
        (Endless(), TypeError, "`items` must be a map-style data set, .*, got Endless; write .* wds:PATTERN"),
        ([X], TypeError, "`items` must be a map-style data set, with a length and samples by number, got list"),
        (Listed([]), ValueError, "`items` must hold at least one sample, got an empty Listed"),
        (Own(), ValueError, "must be the same when they are read again under the same seed, and they differ; let"),
        (changed(3, (X[3], None)), ValueError, "must all have a label like the first, got none at item 3; label all"),
        (changed(3, (X[3], True)), ValueError, "must be whole numbers from 0, or .*, got True at item 3; number"),
        (changed(3, X[3]), ValueError, "must all have a label like the first, got none at item 3; label all"),
        (changed(3, (X[3], 0.5)), ValueError, "must be whole numbers from 0, or .*, got 0.5 at item 3"),
        (changed(3, (X[3], -1)), ValueError, "must be whole numbers from 0, or .*, got -1 at item 3"),
        (
            changed(3, (X[3, :2], 0)),
            ValueError,
            r"of shape \[3\] like the first, got .* of shape \[2\] at item 3",
        ),
        (changed(3, (X[3] / 0, 0)), ValueError, "must be finite, got nan or inf at item 3"),
        (changed(0, (X[0].double(), 0)), TypeError, r"must be float32, .* got torch.float64 of shape \[3\] at item 0"),
        (changed(0, ("text", 0)), TypeError, "must be tensors, arrays or pictures, got str at item 0"),
        (
            changed(0, (X[0], 0, 1)),
            ValueError,
            r"\(sample, label\) or a mapping, got 3 parts at item 0; give",
        ),
        (
            changed(0, {"pic": X[0]}),
            ValueError,
            "column x1, image, .* for the sample, got pic at item 0; pass sample=N",
        ),
        (
            changed(0, (Image.new("RGBA", (4, 4)), 0)),
            ValueError,
            "must be colour images of 8 bits per channel, got mode RGBA, at item 0; convert",
        ),
    ],
)
def test_what_does_not_fit_is_refused(items: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        Indexed(items, classes=3)
    assert "\n" not in str(caught.value)


def test_random_items_are_not_read_beside_the_training() -> None:
    data = Indexed(noisy_set())

    class Beside(Indexed):
        """As a coupling reads: in the thread that prepares."""

        def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Any:
            batch = super().prepared(step, n, seed=seed, part=part)()
            return lambda: batch

    with (
        Prefetched(Beside(noisy_set()), 4, seed=0) as batches,
        pytest.raises(ValueError, match="`workers` must be at l"),
    ):
        next(batches)
    with Prefetched(data, 4, seed=0) as batches:
        assert same(next(batches), data.batch(0, 4, seed=0))
