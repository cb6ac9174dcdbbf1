"""Keys and hashes of content: fixed for all time, different for different parts, refused without an exact form."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from scipy import stats

from flowops._keys import content_hash, generator, key, normal_like, rows_of


def test_a_key_is_what_the_hash_of_the_parts_written_out_says() -> None:
    digest = hashlib.blake2b(b"s5:flipsi1:0i2:-7", digest_size=8).digest()
    assert key("flips", 0, -7) == int.from_bytes(digest, "big") // 2


def test_keys_never_change() -> None:
    assert key("epoch", 0, 1) == 3136524848195066783


def test_different_parts_have_different_keys() -> None:
    cases: list[tuple[int | str, ...]] = [
        *(("a", k) for k in range(500)),
        *((k,) for k in range(500)),
        ("a", "12"),
        ("a1", 2),
        ("a", 1, 2),
        ("12", "a"),
        (),
        ("",),
        ("", ""),
        (10**30,),
    ]
    assert len({key(*parts) for parts in cases}) == len(cases)


def test_a_key_seeds_a_generator() -> None:
    assert all(0 <= key(k) < 2**63 for k in range(100))
    draws = [torch.rand(3, generator=generator("x", k)) for k in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("part", [1.5, True, None, b"a"])
@pytest.mark.usefixtures("unchecked")
def test_other_parts_are_refused(part: Any) -> None:
    with pytest.raises(TypeError, match="`parts` must be whole numbers and strings, got"):
        key("a", part)


class TestParts:
    """The rows of a joint batch that one of several processes has."""

    def test_they_are_every_nth_row(self) -> None:
        assert [list(range(12))[rows_of(12, (k, 3))] for k in range(3)] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
        assert list(range(5))[rows_of(5, (0, 1))] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("part", "sentence"),
        [
            ((0, 5), "The number of parts must divide the batch of 12 samples, got 5; choose a multiple as batch."),
            ((0, 0), "The number of parts must divide the batch of 12 samples, got 0"),
            ((3, 3), "The number of a part must lie between 0 and 2, got 3; pass one of them."),
            ((-1, 3), "The number of a part must lie between 0 and 2, got -1"),
        ],
    )
    def test_others_are_refused(self, part: tuple[int, int], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            rows_of(12, part)


class TestNormalSamples:
    @pytest.mark.parametrize("event", [(), (2,), (3, 4, 4)])
    @pytest.mark.parametrize("n", [1, 5, 16, 48, 100, 192])
    def test_a_part_has_the_rows_of_the_whole_bit_for_bit(self, n: int, event: tuple[int, ...]) -> None:
        whole = normal_like(torch.empty(n, *event), "name", 3, 7)
        for count in (count for count in range(1, n + 1) if n % count == 0):
            for k in range(count):
                own = normal_like(torch.empty(n // count, *event), "name", 3, 7, part=(k, count))
                assert torch.equal(own, whole[k::count])
                assert own.is_contiguous()

    def test_a_process_draws_its_own_rows_where_their_number_divides_16(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn, plain = [], torch.Tensor.normal_

        def counted(values: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
            drawn.append(values.numel())
            return plain(values, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, "normal_", counted)
        for count, shares in ((1, 1), (2, 1), (8, 1), (16, 1), (3, 3), (32, 2)):
            drawn.clear()
            normal_like(torch.empty(960 // count, 2), "name", part=(1 % count, count))
            assert sum(drawn) == shares * 1920 // count

    def test_they_are_independent_standard_normal_in_and_between_rows(self) -> None:
        x = normal_like(torch.empty(3200, 40, dtype=torch.float64), "name", 0)
        assert x.dtype == torch.float64
        assert stats.kstest(x.flatten().numpy(), "norm").pvalue > 1e-3
        lanes = x.reshape(200, 16, 40).transpose(0, 1).flatten(1)
        correlations = torch.corrcoef(lanes) - torch.eye(16)
        assert correlations.abs().max() < 5 / 8000**0.5
        assert torch.corrcoef(torch.stack([x[:-16].flatten(), x[16:].flatten()]))[0, 1].abs() < 5 / x.numel() ** 0.5

    def test_they_follow_from_their_name_alone(self) -> None:
        like, state = torch.empty(20, 2), torch.get_rng_state()
        x = normal_like(like, "name", 0, 1)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(x, normal_like(like, "name", 0, 1))
        assert not any(torch.equal(x, normal_like(like, *p)) for p in (("name", 1, 1), ("name", 0, 2), ("other", 0, 1)))


class TestContentHash:
    def test_it_is_the_hash_of_texts_and_of_shapes_dtypes_and_values(self) -> None:
        x = torch.arange(6, dtype=torch.int16).reshape(2, 3)
        expected = hashlib.sha256(b"train\n[2, 3] torch.int16\n" + x.numpy().tobytes()).hexdigest()
        assert content_hash(["train", x]) == f"sha256 {expected[:16]}"

    def test_it_differs_where_anything_does(self) -> None:
        x = torch.arange(6.0)
        cases: list[list[Any]] = [
            [x],
            [x.double()],
            [x.reshape(2, 3)],
            [x.flip(0)],
            [x + torch.eye(6)[5] * 1e-6],
            [x[:5]],
            [x, "labels"],
            ["labels", x],
            [],
            [x, x],
        ]
        assert len({content_hash(parts) for parts in cases}) == len(cases)

    def test_it_is_the_same_however_the_values_lie_in_memory(self) -> None:
        x = torch.rand(40_000, 3, generator=generator("x"))
        assert content_hash([x.T.contiguous().T]) == content_hash([x])
        assert content_hash(iter([x])) == content_hash([x])
        assert content_hash([x]) != content_hash([x[torch.arange(40_000).roll(1)]])
