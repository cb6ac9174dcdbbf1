"""Keys: fixed for all time, different for different parts, refused for what has no exact form."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from flowops._keys import generator, key


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
