"""Images that are moved, and labels that say how."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from flowops.data import Augmentation, Images, Split
from flowops.data.augmentation import LABELS, SHIFT, SIZE, STRETCH, warped


def waves(side: int = 32) -> tuple[Tensor, Tensor]:
    """The coordinates of the pixels from the centre, across and down."""
    values = torch.arange(side) - (side - 1) / 2
    return values.expand(side, side), values[:, None].expand(side, side)


def smooth(across: Tensor, down: Tensor) -> Tensor:
    """A smooth picture of these places, `[1, 2, side, side]`."""
    bump = torch.exp(-((across - 1.5) ** 2 + (down + 2) ** 2) / 60)
    return torch.stack([bump, bump * torch.sin(across / 5 + down / 7)])[None].float()


def backwards(linear: list[list[float]], offset: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """A map of places."""
    return torch.cat([torch.tensor(linear), torch.tensor(offset)[:, None]], 1)[None].double()


@pytest.mark.parametrize(
    ("linear", "offset"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], (0.0, 0.0)),
        ([[1.0, 0.0], [0.0, 1.0]], (2.5, -1.25)),
        ([[1.2, 0.0], [0.0, 0.9]], (0.0, 0.0)),
        ([[0.9, 0.3], [-0.2, 1.1]], (1.0, 0.5)),
    ],
)
def test_a_smooth_picture_is_moved_to_where_it_is_read(linear: list[list[float]], offset: tuple[float, float]) -> None:
    where = backwards(linear, offset)
    across, down = waves()
    places = torch.einsum("ij,jhw->ihw", where[0, :, :2], torch.stack([across, down]).double())
    places = places + where[0, :, 2, None, None]
    inside = (places.abs() < 14).all(0)  # beyond its edge a picture is continued by its mirror
    found, plain = (image[..., inside] for image in (warped(smooth(across, down), where), smooth(across, down)))
    assert_close(found, smooth(*places.unbind(0))[..., inside], rtol=0, atol=6e-3)
    moved = bool(where[0, :, 2].any()) or linear != [[1.0, 0.0], [0.0, 1.0]]
    assert moved != torch.allclose(found, plain, atol=6e-3)


def test_what_is_not_moved_is_kept_up_to_rounding_edges_included() -> None:
    x = torch.rand(2, 3, 8, 12)
    assert_close(warped(x, backwards([[1.0, 0.0], [0.0, 1.0]]).expand(2, 2, 3)), x, rtol=0, atol=1e-5)


def test_at_zero_images_are_mirrored_and_nothing_else() -> None:
    x = torch.rand(64, 1, 8, 8)
    y, labels = Augmentation(0.0)(x, seed=0, step=0)
    assert labels.shape == (64, LABELS)
    assert not labels[:, 1:].any()
    mirrored = labels[:, 0] == 1
    assert 10 < int(mirrored.sum()) < 54
    assert torch.equal(y[mirrored], x[mirrored].flip(-1))
    assert torch.equal(y[~mirrored], x[~mirrored])


def test_the_labels_say_what_was_done() -> None:
    across, down = waves()
    x = smooth(across, down).expand(8, 2, 32, 32).contiguous()
    augmentation = Augmentation(1.0)
    y, labels = augmentation(x, seed=0, step=0)
    drawn, _ = augmentation._drawn(
        8, seed=0, step=0
    )  # the labels do not tell a stretch from its inverse half a turn on
    for image, (mirrored, size, *axis), (_, stretch, angle, *shift) in zip(y, labels.double(), drawn, strict=True):
        told = torch.stack([stretch * angle.cos(), stretch * angle.sin(), *shift])
        assert_close(torch.stack(axis), told, rtol=1e-5, atol=1e-6)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
        factors = torch.diag(torch.tensor([2 ** (STRETCH * stretch), 2 ** (-STRETCH * stretch)])).double()
        # forward: x -> shift + 2^size R^T S R x, as the labels say it; backward is its inverse
        forward = 2 ** (SIZE * size) * turn.T @ factors @ turn
        places = torch.stack([across, down]).double() - 32 * SHIFT * torch.stack(shift)[:, None, None]
        where = torch.einsum("ij,jhw->ihw", torch.linalg.inv(forward), places)
        inside = (where.abs() < 14).all(0)
        wanted = smooth(-where[0] if mirrored else where[0], where[1])[0]
        assert_close(image[:, inside], wanted[:, inside], rtol=0, atol=2e-2)


def test_each_movement_has_its_probability() -> None:
    _, labels = Augmentation(0.12)(torch.zeros(20_000, 1, 2, 2), seed=0, step=0)
    for column in (1, 2, 4):
        assert stats.binomtest(int((labels[:, column] != 0).sum()), 20_000, 0.12).pvalue > 1e-6
    assert torch.equal(labels[:, 4] != 0, labels[:, 5] != 0)
    assert stats.kstest(labels[labels[:, 1] != 0, 1].numpy(), "norm").pvalue > 1e-6


@pytest.mark.parametrize("count", [2, 4])
def test_a_share_is_the_rows_of_the_whole(count: int) -> None:
    x, augmentation = torch.rand(16, 1, 8, 8), Augmentation(0.5)
    whole, labels = augmentation(x, seed=3, step=5)
    for k in range(count):
        part, mine = augmentation(x[k::count], seed=3, step=5, part=(k, count))
        assert torch.equal(mine, labels[k::count])
        assert_close(part, whole[k::count], rtol=0, atol=1e-5)
    assert not torch.equal(augmentation(x, seed=3, step=6)[1], labels)


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_a_probability_is_one(p: float) -> None:
    with pytest.raises(ValueError, match="`p` must be a probability, got"):
        Augmentation(p)


def test_a_set_of_images_stays_as_it_was() -> None:
    pixels = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8)
    data = Images("made", {"train": Split(pixels)}, provenance="made")
    x = data.batch(0, 8, seed=0).x1
    kept = x.clone()
    Augmentation(1.0)(x, seed=0, step=0)
    assert torch.equal(x, kept)
