"""Many calls at once, from threads or an event loop, and what became of each."""

import asyncio
import collections
import json
import threading
import time

from gateway import KEY
from wire import Closed, RawClient, request


class Load:
    """Threads that call without a pause until they are stopped; a context manager. `outcomes`
    counts statuses and, for what has none, the names of exceptions."""

    def __init__(self, gateway, model="mock-ok", threads=4, key=KEY, stream=False, fresh=False):
        self.gateway, self.key, self.fresh = gateway, key, fresh
        body = json.dumps({"model": model, "stream": stream,
                           "messages": [{"role": "user", "content": "Hello"}]}).encode()
        self.data = request("POST", "/v1/chat/completions",
                            [("Authorization", f"Bearer {key}")], body)
        self.outcomes = collections.Counter()
        self.slowest = 0.0
        self.bad = []  # a few answers that were not 200
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def note(self, outcome, seconds=0.0, detail=None):
        with self.lock:
            self.outcomes[outcome] += 1
            self.slowest = max(self.slowest, seconds)
            if detail and len(self.bad) < 5:
                self.bad.append(detail)

    def wait_for_calls(self, count):
        """Until so many more are done."""
        done = self.outcomes.total()
        deadline = time.monotonic() + 60
        while self.outcomes.total() < done + count:
            assert time.monotonic() < deadline, self.outcomes
            time.sleep(0.002)

    def run(self):
        client = None
        while not self.stopping.is_set():
            start = time.monotonic()
            try:
                if client is None:
                    client = RawClient(self.gateway.address, 30)
                answer = client.ask(self.data)
                seconds = time.monotonic() - start
                self.note(answer.status, seconds,
                          answer.body if answer.status != 200 else None)
                if answer.closes or self.fresh:
                    client.socket.close()
                    client = None
            except ConnectionRefusedError:
                self.note("refused")
                client = None
            except (Closed, OSError, AssertionError) as problem:
                self.note(type(problem).__name__, detail=repr(problem))
                client = None


async def open_stream(address, data):
    """A stream, after its head: (reader, writer)."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return reader, writer
