"""The page comes from this machine, whole, and a port that is taken is a sentence."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from flowops.evaluation.explore import address, served, subject_of_problem

pytest.importorskip("bokeh")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of this test, which ends with it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


async def read(where: str) -> str:
    client: Any = pytest.importorskip("tornado.httpclient").AsyncHTTPClient()
    answer = await client.fetch(where)
    return str(answer.body.decode("utf-8"))


def test_the_page_needs_nothing_from_a_network(loop: asyncio.AbstractEventLoop) -> None:
    server = served(subject_of_problem("rotation", n=5), port=0)
    try:
        text = loop.run_until_complete(read(address(server)))
    finally:
        server.stop(wait=False)
        server.unlisten()
    assert "problem rotation" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert any("static/js/bokeh" in source for source in sources)
    assert not [source for source in sources if "://" in source and not source.startswith(address(server))]
    assert 'name="viewport"' in text


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"`port` must be free, and {port} is in use; pass another"):
            served(subject_of_problem("rotation", n=5), port=port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_that_is_none_is_a_sentence(port: int) -> None:
    with pytest.raises(ValueError, match="`port` must be"):
        served(subject_of_problem("rotation", n=5), port=port)
