"""Pairs from tensors, from files, from a flow and by transport: what they are, that rows stay together, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator, problems
from flowops.couplings import OptimalTransport
from flowops.data import Images, Pairs, Split, open_dataset, transported
from flowops.interpolants import linear
from tests.data.image_files import encoded, pixels, written_folder
from tests.examples import EVENT_IDS, EVENTS, CubicFlow, mild, normal, over

X0 = normal(12, 2, 3).float()
LABELS = torch.arange(12) % 5
A = torch.tensor([[0.3, -1.1], [0.8, -0.4]], dtype=torch.float64)


def test_rows_stay_together_and_every_epoch_holds_all() -> None:
    pairs = Pairs(X0, 2 * X0, torch.arange(12))
    for batch in (pairs.batch(3, 8, seed=1), pairs.reference(7, seed=3)):
        assert batch.x0 is not None
        assert batch.labels is not None
        assert torch.equal(batch.x1, 2 * batch.x0)
        assert torch.equal(batch.x0, X0[batch.labels])
    whole = pairs.batch(0, 24, seed=0).labels
    assert whole is not None
    assert sorted(whole[:12].tolist()) == sorted(whole[12:].tolist()) == list(range(12))
    assert torch.equal(pairs.batch(5, 4, seed=2).x1, Pairs(X0, 2 * X0).batch(5, 4, seed=2).x1)
    assert (len(pairs), pairs.size, pairs.event) == (12, 12, torch.Size([2, 3]))


def test_files_hold_the_same_pairs(tmp_path: Path) -> None:
    arrays = {"x0": X0, "x1": X0 + 1, "label": LABELS}
    np.savez(tmp_path / "x.npz", x0=X0.numpy(), x1=(X0 + 1).numpy(), label=LABELS.numpy())
    save_file(arrays, tmp_path / "x.safetensors")
    expected = Pairs(X0, X0 + 1, LABELS)
    for file in ("x.npz", "x.safetensors"):
        for pairs in (open_dataset(f"pairs:{tmp_path / file}"), open_dataset("pairs", path=tmp_path / file)):
            assert pairs.classes == ("0", "1", "2", "3", "4")
            assert pairs.provenance.split("12 pairs")[1] == expected.provenance.split("12 pairs")[1]
            found, wanted = pairs.batch(2, 9, seed=0), expected.batch(2, 9, seed=0)
            for a, b in zip(found, wanted, strict=True):
                assert a is not None
                assert b is not None
                assert torch.equal(a, b)


def test_the_suffix_of_a_file_may_be_in_capitals(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x0=X0.numpy(), x1=X0.numpy())
    (tmp_path / "x.npz").rename(tmp_path / "X.NPZ")
    assert open_dataset(f"pairs:{tmp_path / 'X.NPZ'}").size == 12


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int16])
def test_labels_may_have_any_dtype_of_whole_numbers(dtype: torch.dtype) -> None:
    pairs = Pairs(X0, X0, LABELS.to(dtype))
    assert pairs.labels is not None
    assert pairs.labels.dtype == torch.int64
    assert torch.equal(pairs.labels, LABELS)


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x0=X0.numpy(), x1=X0.numpy())
    pairs = open_dataset(f"pairs:{tmp_path / 'x.npz'}")
    assert (pairs.classes, pairs.batch(0, 1, seed=0).labels) == ((), None)


def test_batches_come_out_on_the_device() -> None:
    pairs = Pairs(X0, X0, LABELS)
    batch = pairs.to("meta").batch(0, 3, seed=0)
    assert [part.device.type for part in batch if part is not None] == ["meta"] * 3
    assert pairs.batch(0, 3, seed=0).x1.device.type == "cpu"


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (lambda: Pairs(X0, X0[:3]), ValueError, r"`x1` must have the shape of `x0`, \[12, 2, 3\]"),
        (lambda: Pairs(X0.double(), X0.double()), TypeError, "`x0` and `x1` must be float32, got torch.float64"),
        (lambda: Pairs(X0[:0], X0[:0]), ValueError, "`x0` must hold at least one sample"),
        (
            lambda: Pairs(X0, X0, LABELS[:3]),
            ValueError,
            r"`labels` must have shape \[12\], one per pair, got \[3\]",
        ),
        (lambda: Pairs(X0, X0, LABELS.float()), TypeError, "`labels` must be whole numbers, got torch.float32"),
        (lambda: Pairs(X0, X0, LABELS - 1), ValueError, "`labels` must count from 0, got -1"),
        (
            lambda: Pairs(X0.where(X0 < 1, torch.nan), X0),
            ValueError,
            "`x0` must be finite, got nan or inf; look for",
        ),
        (
            lambda: Pairs(X0, X0.where(X0 < 1, torch.inf)),
            ValueError,
            "`x1` must be finite, got nan or inf; look for",
        ),
        (lambda: Pairs(X0, X0).reference(13), ValueError, "`n` must be at most the 12 samples that pairs has"),
        (lambda: Pairs(X0, X0).reference(1, split="test"), ValueError, "`split` must be 'train' for pairs"),
        (lambda: Pairs(X0, X0).batch(0, 0, seed=0), ValueError, "`n` must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(act: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        act()


def test_unsuitable_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x0=X0.numpy(), y=X0.numpy())
    np.savez(tmp_path / "objects.npz", x0=np.array([None]), x1=X0.numpy())
    (tmp_path / "broken.npz").write_bytes(b"PK")
    np.savez_compressed(tmp_path / "whole.npz", x0=X0.numpy(), x1=X0.numpy())
    content = (tmp_path / "whole.npz").read_bytes()
    for name, place in (("packed", 100), ("end", len(content) - 20)):
        (tmp_path / f"{name}.npz").write_bytes(content[:place] + b"\xff" * 9 + content[place + 9 :])
    (tmp_path / "cut.npz").write_bytes(content[:-40])
    np.save(tmp_path / "one.npy", X0.numpy())
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "pairs.pkl").write_bytes(b"")
    for name, error, sentence in (
        ("other.npz", ValueError, "arrays x0 and x1, and label or none, got x0, y in .*other.npz"),
        ("objects.npz", ValueError, "an .npz file of plain arrays, got .*objects.npz: .*allow_pickle"),
        *(
            (f"{name}.npz", ValueError, f"an .npz file of plain arrays, got .*{name}.npz: .*; write it anew with numpy")
            for name in ("broken", "packed", "end", "cut", "one")
        ),
        (
            "broken.safetensors",
            ValueError,
            "a .safetensors file, got .*broken.safetensors: .*; write it anew with",
        ),
        ("pairs.pkl", ValueError, "ending in .npz or .safetensors, got .*pairs.pkl"),
        ("gone.npz", FileNotFoundError, "got .*gone.npz, where there is nothing"),
        (".", IsADirectoryError, "a file, got the folder"),
    ):
        with pytest.raises(error, match=sentence):
            open_dataset("pairs", path=tmp_path / name)


class Growth(FlowMap):
    r"""$X_{s,t}(x;\ell)=e^{\ell(t-s)}x$."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, *, label: Tensor) -> Tensor:
        return torch.exp(over(label * (t - s), x)) * x


class TestFromFlow:
    @pytest.mark.parametrize("chunk", [1, 3, 7, 100])
    def test_pairs_of_a_linear_flow_are_those_of_the_matrix_exponential(self, chunk: int) -> None:
        x0 = normal(7, 2).float()
        pairs = Pairs.from_flow(problems.linear(A).X, x0, chunk=chunk)
        expected = x0.double() @ torch.from_numpy(scipy.linalg.expm(A.numpy())).T
        assert_close(pairs.x1.double(), expected, rtol=1e-5, atol=1e-6)
        assert (pairs.x1 - x0).abs().max() > 0.1
        assert torch.equal(pairs.x0, x0)
        assert pairs.labels is None
        assert len(pairs) == 7

    @pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
    def test_any_event(self, event: tuple[int, ...]) -> None:
        x0 = mild(5, *event, dtype=torch.float32)
        pairs = Pairs.from_flow(CubicFlow(), x0, chunk=2)
        assert_close(pairs.x1, x0 / (1 + 1.5 * x0**2).sqrt())
        assert (pairs.event, pairs.size) == (torch.Size(event), 5)

    @pytest.mark.usefixtures("unchecked")
    def test_both_ends_lie_on_one_trajectory_of_the_exact_field(self) -> None:
        problem = problems.gaussian([1.0, -1.0], [[2.0, 0.5], [0.5, 1.0]], linear())
        x0 = problem.sample_base(200, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        for X in (problem.X, SolutionOperator(problem.b)):
            pairs = Pairs.from_flow(X, x0, chunk=64)
            middle = problem.X(0.0, 0.5, pairs.x0.double())
            assert_close(problem.X(1.0, 0.5, pairs.x1.double()), middle, rtol=1e-4, atol=1e-4)
        shuffled = pairs.x1.roll(1, 0).double()
        assert (problem.X(1.0, 0.5, shuffled) - middle).abs().mean() > 0.1

    def test_the_same_seed_gives_the_same_pairs(self) -> None:
        first, again, other = (Pairs.from_flow(CubicFlow(), normal(9, 2, seed=k).float()) for k in (1, 1, 2))
        assert first.provenance == again.provenance != other.provenance
        for a, b in zip(first.batch(3, 5, seed=0), again.batch(3, 5, seed=0), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]

    def test_nothing_is_differentiated(self) -> None:
        x0 = mild(3, 2, dtype=torch.float32).requires_grad_()
        pairs = Pairs.from_flow(CubicFlow(), x0)
        assert not pairs.x0.requires_grad
        assert not pairs.x1.requires_grad

    def test_labels_reach_the_flow_row_by_row(self) -> None:
        x0, labels = normal(5, 3).float(), torch.tensor([0, 2, 1, 0, 1])
        pairs = Pairs.from_flow(Growth(), x0, labels, chunk=2)
        assert_close(pairs.x1, labels.exp()[:, None] * x0)
        assert pairs.labels is not None
        assert torch.equal(pairs.labels, labels)
        assert pairs.classes == ("0", "1", "2")

    @pytest.mark.parametrize(
        ("act", "error", "sentence"),
        [
            (
                lambda x0: Pairs.from_flow(CubicFlow(), x0, LABELS[:3]),
                TypeError,
                "`label` must be a condition that the",
            ),
            (lambda x0: Pairs.from_flow(Growth(), x0, LABELS[:2]), ValueError, r"`labels` must have shape \[3\]"),
            (lambda x0: Pairs.from_flow(Growth(), x0, LABELS[:4]), ValueError, r"`labels` must have shape \[3\]"),
            (lambda x0: Pairs.from_flow(Growth(), x0, torch.ones(3)), TypeError, "`labels` must be whole numbers"),
            (lambda x0: Pairs.from_flow(CubicFlow(), x0, chunk=0), ValueError, "`chunk` must be a whole number"),
            (lambda x0: Pairs.from_flow(CubicFlow(), x0[:0]), ValueError, "`x0` must hold at least one sample"),
            (lambda x0: Pairs.from_flow(CubicFlow(), x0.double()), TypeError, "must be float32, got torch.float64"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_wrong_arguments_are_refused(self, act: Any, error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            act(mild(3, 2, dtype=torch.float32))


def cost(pairs: Pairs) -> float:
    return float((pairs.x0 - pairs.x1).square().sum(1).mean())


def sorted_rows(x: Tensor) -> Tensor:
    return torch.tensor(sorted(x.tolist()))


class TestTransported:
    """Samples of a data set paired with noise, and the coupling that it approaches."""

    BOARD = open_dataset("checkerboard")
    MODES = open_dataset("gaussians")

    def test_both_marginals_are_kept(self) -> None:
        made = transported(self.BOARD, pairs=400, block=50, rounds=3, seed=2)
        assert torch.equal(sorted_rows(made.x1), sorted_rows(self.BOARD.reference(400, seed=2).x1))
        assert stats.kstest(made.x0.flatten().numpy(), stats.norm.cdf).pvalue > 1e-6
        assert len(made.x0.unique(dim=0)) == 400

    def test_every_round_comes_closer_to_the_optimal_pairs(self) -> None:
        costs = [cost(transported(self.BOARD, pairs=512, block=32, rounds=k)) for k in (1, 2, 6, 20)]
        plain = self.BOARD.reference(512, seed=0).x1
        whole = transported(self.BOARD, pairs=512, block=512, rounds=1)
        independent = float((whole.x0 - plain).square().sum(1).mean())
        assert independent > costs[0] > costs[1] > costs[2] > costs[3] > cost(whole)
        best = OptimalTransport()(whole.x0, plain).x1
        assert torch.equal(best, whole.x1)
        assert costs[3] - cost(whole) < 0.1 * (independent - cost(whole))

    def test_samples_are_exchanged_within_their_class_only(self) -> None:
        made = transported(self.MODES, pairs=400, block=100, rounds=3, seed=1)
        start = transported(self.MODES, pairs=400, block=1, rounds=1, seed=1)  # blocks of one exchange nothing
        assert made.labels is not None
        assert start.labels is not None
        assert made.classes == self.MODES.classes
        assert torch.equal(made.x0, start.x0)
        assert torch.equal(made.labels, start.labels)  # the class that goes with each base sample
        assert not torch.equal(made.x1, start.x1)
        for label in range(8):
            assert torch.equal(sorted_rows(made.x1[made.labels == label]), sorted_rows(start.x1[start.labels == label]))

    def test_a_coupling_blind_to_the_class_would_bias_the_base(self) -> None:
        made = transported(self.MODES, pairs=800, block=200, rounds=2)
        assert made.labels is not None
        right = made.labels == 0  # the mode at (0.8, 0)
        assert stats.ttest_1samp(made.x0[right, 0].numpy(), 0).pvalue > 1e-6
        blind = OptimalTransport(block=200)(made.x0, made.x1, made.labels)
        assert blind.labels is not None
        assert stats.ttest_1samp(blind.x0[blind.labels == 0, 0].numpy(), 0).pvalue < 1e-6

    def test_a_seed_fixes_the_pairs(self) -> None:
        first, again, other = (transported(self.BOARD, pairs=64, block=16, rounds=2, seed=k) for k in (3, 3, 4))
        assert torch.equal(first.x0, again.x0)
        assert torch.equal(first.x1, again.x1)
        assert first.provenance == again.provenance
        assert not torch.equal(first.x0, other.x0)

    def test_of_a_finite_set_every_sample_is_paired_once(self) -> None:
        pixels = torch.randint(256, (30, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        images = Images("few", {"train": Split(pixels)}, provenance="few: for tests")
        made = transported(images, block=8, rounds=2)
        assert (len(made), made.event) == (30, images.event)
        assert torch.equal(sorted_rows(made.x1.flatten(1)), sorted_rows(images.reference(30).x1.flatten(1)))
        assert len(transported(images, pairs=12, block=8, rounds=1)) == 12

    def test_what_it_is_stands_in_its_provenance_and_sampling_may_start_from_noise(self) -> None:
        made = transported(self.BOARD, pairs=64, block=16, rounds=2)
        assert (made.name, made.normal_base, made.size) == ("transported:checkerboard", True, 64)
        assert "by transport in 2 rounds of blocks of 16; checkerboard:" in made.provenance
        assert not Pairs(X0, X0).normal_base
        assert made.problem is self.BOARD.problem
        assert transported(open_dataset("digits"), pairs=8, rounds=1).defaults == open_dataset("digits").defaults != {}

    def test_it_opens_by_its_name(self) -> None:
        options: dict[str, Any] = {"pairs": 64, "block": 16, "rounds": 2, "seed": 5}
        opened = open_dataset("transported:checkerboard", **options)
        assert isinstance(opened, Pairs)
        made = transported(self.BOARD, pairs=64, block=16, rounds=2, seed=5)
        assert torch.equal(opened.x0, made.x0)
        assert torch.equal(opened.x1, made.x1)
        assert opened.name == "transported:checkerboard"
        assert open_dataset("transported", path="checkerboard", **options).provenance == opened.provenance

    def test_the_path_is_that_of_the_set_it_is_made_from(self, tmp_path: Path) -> None:
        written_folder(tmp_path, {f"{k}.png": encoded(pixels(k)) for k in range(6)})
        made = transported(open_dataset("folder", path=tmp_path))
        for name, path in (("transported:folder", tmp_path), (f"transported:folder:{tmp_path}", None)):
            assert open_dataset(name, path=path).provenance == made.provenance

    @pytest.mark.parametrize(
        ("act", "error", "sentence"),
        [
            (lambda b: transported(b, pairs=0), ValueError, "`pairs` must be a whole number of at least 1, got 0"),
            (lambda b: transported(b, block=-1), ValueError, "`block` must be a whole number of at least 1, got -1"),
            (lambda b: transported(b, rounds=0), ValueError, "`rounds` must be a whole number of at least 1, got 0"),
            (
                lambda _: transported(Pairs(X0, X0)),
                ValueError,
                "`dataset` must have no base samples of its own, got pairs",
            ),
            (
                lambda _: open_dataset("transported"),
                ValueError,
                "`dataset` must say what is transported, got 'transported'",
            ),
            (
                lambda _: open_dataset("transported:digits", path="/x"),
                ValueError,
                "`path` must be None for digits, which is read from no file, got /x",
            ),
            (lambda _: open_dataset("transported:digit"), ValueError, "got 'digit'; did you mean 'digits'"),
            (lambda _: open_dataset("transported:digits", blocks=8), TypeError, "`blocks` must be an option of transp"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_wrong_arguments_are_refused(self, act: Any, error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            act(self.BOARD)
