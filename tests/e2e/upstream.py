"""A provider whose every byte is scripted, and which remembers every byte it received.

An Upstream listens in an event loop of its own thread. For each request it awaits the script of
the request's model (or the default one), which writes what it likes to the connection: nothing is
checked, so that a test can lie, cut, stall and reset.
"""

import asyncio
import json
import re
import socket
import struct
import threading


class Request:
    """One request as it came: raw is all of its bytes."""

    def __init__(self, connection, raw_head, body, raw, chunked):
        self.connection = connection
        lines = raw_head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ")
        self.fields = [tuple(line.split(":", 1)) for line in lines[1:] if line]
        self.fields = [(name, value.strip()) for name, value in self.fields]
        self.body, self.raw, self.chunked = body, raw, chunked

    def header(self, name):
        """The value of a field that may come once; None when it is not there."""
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def model(self):
        try:
            return self.json["model"]
        except (ValueError, KeyError, TypeError):
            return None


class Connection:
    """What one connection brought. `closed` is set when the gateway closed or reset it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.raw = bytearray()
        self.unread = bytearray()
        self.more = asyncio.Event()
        self.closed = threading.Event()
        self.answered = 0

    async def pump(self):
        """Reads on while a script writes, so that a close is noticed at once."""
        try:
            while data := await self.reader.read(65536):
                self.raw += data
                self.unread += data
                self.more.set()
        except OSError:
            pass
        self.closed.set()
        self.more.set()

    async def read_until(self, pattern):
        while not (match := re.search(pattern, self.unread)):
            if not await self.wait_for_more():
                return None
        return self.take(match.end())

    async def read_exactly(self, count):
        while len(self.unread) < count:
            if not await self.wait_for_more():
                return None
        return self.take(count)

    async def wait_for_more(self):
        if self.closed.is_set():
            return False
        self.more.clear()
        await self.more.wait()
        return True

    def take(self, count):
        taken = bytes(self.unread[:count])
        del self.unread[:count]
        return taken

    async def next_request(self):
        head = await self.read_until(rb"\r\n\r\n")
        if head is None:
            return None
        length = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.I)
        chunked = bool(re.search(rb"\r\ntransfer-encoding:\s*chunked", head, re.I))
        body, raw = b"", head
        if chunked:
            while True:
                line = await self.read_until(rb"\r\n")
                if line is None:
                    return None
                data = await self.read_exactly(int(line, 16) + 2)
                if data is None:
                    return None
                raw += line + data
                body += data[:-2]
                if int(line, 16) == 0:
                    break
        elif length:
            body = await self.read_exactly(int(length.group(1)))
            if body is None:
                return None
            raw += body
        return Request(self, head[:-4], body, raw, chunked)


class Call:
    """One request to answer, and the connection to answer it on."""

    def __init__(self, upstream, connection, request):
        self.upstream, self.connection, self.request = upstream, connection, request
        self.keep = True

    async def send(self, data):
        self.connection.writer.write(data)
        await self.connection.writer.drain()

    async def reply(self, body, status="200 OK", fields=(), content_type="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        head = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}",
                f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in fields)]
        await self.send("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)

    async def begin_stream(self, fields=()):
        head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream",
                "Transfer-Encoding: chunked", *(f"{n}: {v}" for n, v in fields)]
        await self.send("\r\n".join(head).encode("latin-1") + b"\r\n\r\n")

    async def chunk(self, data):
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, data):
        text = data if isinstance(data, str) else json.dumps(data)
        await self.chunk(f"data: {text}\n\n".encode())

    async def end_stream(self):
        await self.chunk(b"")

    def close(self):
        self.keep = False
        self.connection.writer.close()

    def reset(self):
        self.keep = False
        sock = self.connection.writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.writer.transport.abort()

    async def hang(self):
        """Until the gateway gives up."""
        while await self.connection.wait_for_more():
            pass
        self.keep = False


def completion(text="Hello.", model="m"):
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}


def delta(text, finish=None):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": finish, "delta": {"content": text}}]}


async def answer_well(call):
    """The default script: a completion, streamed where that is asked for."""
    try:
        streams = call.request.json.get("stream")
    except ValueError:
        streams = False
    if not streams:
        await call.reply(completion())
        return
    await call.begin_stream()
    for word in ("Hel", "lo."):
        await call.event(delta(word))
    await call.event(delta("", "stop"))
    await call.event("[DONE]")
    await call.end_stream()


class Upstream:
    """A listening server; a context manager. `scripts` maps a model to its script."""

    def __init__(self, path=None, tls=None):
        self.path, self.tls = path, tls
        self.default, self.scripts = answer_well, {}
        self.requests, self.connections = [], []
        self.problems = []  # exceptions of scripts
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.listening = threading.Event()
        self.tasks = set()

    def __enter__(self):
        self.thread.start()
        assert self.listening.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)
        assert not self.problems, self.problems

    @property
    def base_url(self):
        if self.path:
            return f"unix:{self.path}"
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}/v1"

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.main())
        self.loop.close()

    async def main(self):
        self.stop = asyncio.Event()
        if self.path:
            server = await asyncio.start_unix_server(self.serve, self.path)
        else:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls,
                                                backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        await self.stop.wait()
        server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def note(self, what, thing):
        with self.changed:
            what.append(thing)
            self.changed.notify_all()

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        connection = Connection(reader, writer)
        self.note(self.connections, connection)
        pump = asyncio.create_task(connection.pump())
        try:
            while request := await connection.next_request():
                self.note(self.requests, request)
                call = Call(self, connection, request)
                await self.scripts.get(request.model, self.default)(call)
                connection.answered += 1
                if not call.keep:
                    break
        except OSError:
            pass  # the gateway is gone, which is its right
        except asyncio.CancelledError:
            pass
        except Exception as problem:  # pylint: disable=broad-except
            self.problems.append(problem)
        finally:
            pump.cancel()
            writer.close()
            self.tasks.discard(task)

    def wait_for_requests(self, count, seconds=10):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, seconds), \
                f"{len(self.requests)} requests came instead of {count}"
        return self.requests

    def received(self):
        """Every byte since the last clear(), connection by connection."""
        return [bytes(c.raw) for c in self.connections if c.raw]

    def clear(self):
        with self.changed:
            self.requests.clear()
            for connection in self.connections:
                connection.raw.clear()
