# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that does what networks do: it delays, stalls, and cuts a connection at any byte.

Used by tests of the log and by proofs, between a client and its server or between a primary and its standby (so that
every commit is held open for a while). It runs on a loop in a thread of its own. Settings count for what is read from
then on; a cut counts bytes of one direction of one connection.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType

CHUNK_BYTES = 65_536
Cut = Callable[[bytes], int | None]  # of what is about to be passed to the server: how much of it goes before the cut


class Proxy:
    """Listens on `port`; passes everything on to 127.0.0.1:`target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.more_seconds: Callable[[], float] | None = None  # asked for each piece that comes from the server
        self._flowing = threading.Event()  # set: not stalled
        self._flowing.set()
        self.refusing = False
        self.cut: Cut | None = None
        self.connections = 0
        self.cuts = 0
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        ends = (writer, server_writer)
        self._writers.update(ends)
        for source, sink, is_to_server in ((reader, server_writer, True), (server_reader, writer, False)):
            task = self._loop.create_task(self._pass(source, sink, is_to_server, ends))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_to_server: bool,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:  # fmt: skip
        """One direction. Delays overlap: the bytes are late, the line is not slower."""
        late: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        sender = self._loop.create_task(self._send(late, sink))
        self._tasks.add(sender)
        sender.add_done_callback(self._tasks.discard)
        try:
            while data := await source.read(CHUNK_BYTES):
                if not self._flowing.is_set():
                    await asyncio.to_thread(self._flowing.wait)
                kept = self.cut(data) if is_to_server and self.cut is not None else None
                if kept is not None:
                    self.cuts += 1
                    sink.write(data[:kept])
                    await sink.drain()
                    await asyncio.sleep(0.002)  # so that what was passed arrives before the end
                    break
                more = self.more_seconds() if self.more_seconds is not None and not is_to_server else 0.0
                await late.put((self._loop.time() + self.delay_seconds + more, data))
        except OSError:
            pass
        finally:
            try:
                late.put_nowait(None)
                await asyncio.wait([sender])
            finally:
                for end in ends:
                    end.transport.abort()
                    self._writers.discard(end)

    async def _send(self, late: "asyncio.Queue[tuple[float, bytes] | None]", sink: asyncio.StreamWriter) -> None:
        while (item := await late.get()) is not None:
            due, data = item
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            sink.write(data)

    def stall(self, on: bool) -> None:
        """Nothing passes in either direction, or all that waited goes on."""
        if on:
            self._flowing.clear()
        else:
            self._flowing.set()

    def drop_all(self) -> None:
        """Every connection is cut, now."""

        def drop() -> None:
            for writer in list(self._writers):
                writer.transport.abort()

        self._loop.call_soon_threadsafe(drop)

    def close(self) -> None:
        """No more listening, no more connections."""

        async def end() -> None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)
            self._loop.stop()

        self._flowing.set()
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(end()))
        self._thread.join(5)
        self._listener.close()
        self._loop.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
