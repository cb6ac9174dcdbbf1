"""Keys and hashes of content: fixed for all time, different for different parts, refused without an exact form."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from flowops._keys import content_hash, generator, key


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
