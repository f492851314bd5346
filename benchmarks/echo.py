# SPDX-License-Identifier: Apache-2.0
"""The least a server in Python can do: uvloop and httptools, one fixed answer to every request; no exchange behind it.

    python -m benchmarks.echo        prints its port, serves until it is stopped

Used by the saturation run of `benchmarks.load` as the ceiling that orders per CPU second are compared with. It must
never learn to do more: it is the same in every run of the diary.
"""

import asyncio
from typing import cast

import httptools
import uvloop

BODY = b'{"symbol":"BTCUSDT","orderId":1,"orderListId":-1,"clientOrderId":"x","transactTime":1700000000000}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Echo(asyncio.Protocol):
    """Parses requests, answers each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def data_received(self, chunk: bytes) -> None:
        self.parser.feed_data(chunk)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        self.transport.write(ANSWER)


async def main() -> None:
    """Serves for ever."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
