"""The small HTTP of the site, against clients and servers that others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from app.demo.http import MOST_HEAD, Answer, Client, Server


class Shop:
    """A handler that waits on `/slow` until it is let go, and remembers who went away."""

    def __init__(self) -> None:
        self.cancelled, self.entered, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, path: str) -> Answer:
        if path == "/slow":
            self.entered.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return Answer(404 if path == "/none" else 200, f"you asked for {path} ✓")


@pytest.fixture
async def shop() -> Shop:
    return Shop()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def server(shop: Shop, port: int) -> AsyncIterator[Server]:
    server = Server(shop)
    await server.start(port)
    yield server
    await server.stop(0)


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    client = Client(port)
    yield client
    client.close()
    await asyncio.sleep(0)


@pytest.mark.usefixtures("server")
async def test_another_client_is_served_over_one_connection(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        for path, status in (("/a", 200), ("/none", 404), ("/b?x=1", 200)):
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                assert (answer.status, await answer.text()) == (status, f"you asked for {path} ✓")
        async with session.post(f"http://127.0.0.1:{port}/a", data=b"") as answer:
            assert answer.status == 405


@pytest.mark.usefixtures("server")
async def test_several_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    assert text.index("for /1") < text.index("for /2")
    writer.close()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("noise", [b"\r\n\r\n", b"\xff\x00 \xff\r\n\r\n", b"x" * (MOST_HEAD + 1)])
async def test_noise_ends_its_own_connection_only(client: Client, port: int, noise: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(noise)
    with contextlib.suppress(ConnectionResetError):
        assert b" 200 " not in await reader.read()
    writer.close()
    assert await client.get("/a", 1.0) == 200


@pytest.mark.usefixtures("server")
async def test_a_request_whose_asker_has_gone_is_given_up(shop: Shop, client: Client) -> None:
    with pytest.raises(TimeoutError):
        await client.get("/slow", 0.05)
    async with asyncio.timeout(1):
        await shop.cancelled.wait()
    assert await client.get("/a", 1.0) == 200


async def test_a_request_that_is_inside_is_finished_before_the_end(server: Server, shop: Shop, client: Client) -> None:
    asked = asyncio.create_task(client.get("/slow", 2.0))
    await shop.entered.wait()
    stopping = asyncio.create_task(server.stop(2.0))
    await asyncio.sleep(0)
    shop.go.set()
    assert await asked == 200
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await client.get("/a", 1.0)


async def test_a_foreign_server_is_understood(client: Client, port: int) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=503, body=b"z" * 200_000)

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    assert [await client.get("/a", 2.0) for _ in range(3)] == [503, 503, 503]
    await runner.cleanup()


async def test_a_server_that_dies_in_the_middle_is_gone(client: Client, port: int) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        with pytest.raises(ConnectionError):
            await client.get("/a", 1.0)
