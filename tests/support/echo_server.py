"""A WebSocket upstream on the ``websockets`` package: it echoes what it is told.

Owns its thread and event loop. Refuses to know the proxy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

BIGGEST = 1 << 25
"""Bytes of a message, at both ends."""

TO_CLOSE = "close, please"
"""The message that is answered by closing, with code 4000."""


async def _echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            if message == TO_CLOSE:
                await connection.close(4000, "as you wish")
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass


def _chat(connection: ServerConnection, offered: Sequence[Any]) -> Any:
    return "chat" if "chat" in offered else None


class EchoServer:
    """Listens from construction until :meth:`stop`; knows the subprotocol ``chat``.

    Attributes:
        address: what to write as a site's ``upstream``.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._listen())
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.address = f"127.0.0.1:{port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._server.connections)

    def forget(self) -> None:
        """There is nothing that it remembers."""

    def stop(self) -> None:
        """Close every connection and the socket."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> Server:
        return await serve(
            _echo,
            "127.0.0.1",
            0,
            max_size=BIGGEST,
            compression=None,
            select_subprotocol=_chat,
        )

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _run(self, awaited: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaited, self._loop).result(10)
