"""Many streams at once, of which some clients and some providers die: nothing stays behind."""

import asyncio
import json
import os
import re
import resource
import socket
import struct
import time

import pytest

from conftest import over
from gateway import IS_SANITIZED, KEY, Mock, free_port, wait_for
from wire import request


def call(model):
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    return request("POST", "/v1/chat/completions", [("Authorization", f"Bearer {KEY}")],
                   json.dumps(body).encode())


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def one_stream(gateway, gate, vanishes, dies, pause_ms, outcomes):
    """Reads to the end, or goes away without a word after the first bytes."""
    model = f"mock-stream-20x{pause_ms}ms" + ("+cut-after-9" if dies else "")
    async with gate:
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(call(model))
    try:
        text = await reader.readuntil(b"\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 200 "), text
        if vanishes:
            await reader.read(100)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                       struct.pack("ii", 1, 0))
            writer.transport.abort()
            outcomes.append("vanished")
            return
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            data = await reader.read(65536)
            if not data:
                break
            body += data
        whole = body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and body.count(b'"content":') >= 20
        broken = b'"upstream_error"' in body and not body.endswith(b"0\r\n\r\n")
        outcomes.append("whole" if whole else "broken" if broken else f"odd: {body[-300:]!r}")
    finally:
        writer.close()


async def many_streams(gateway, count, pause_ms):
    """One of a hundred clients vanishes, one of a hundred providers dies."""
    outcomes, gate = [], asyncio.Semaphore(200)  # connections that are being made at once
    await asyncio.gather(*(one_stream(gateway, gate, i % 100 == 7, i % 100 == 53, pause_ms,
                                      outcomes) for i in range(count)))
    return outcomes


def churn(tmp_path, start_gateway, count, pause_ms):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count * 2 + 500:
        pytest.skip(f"{count} streams take {count * 2 + 500} descriptors, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    mock = Mock(tmp_path, free_port()).start()
    try:
        gateway = start_gateway(over(mock.base_url))
        asyncio.run(many_streams(gateway, count, pause_ms))  # pools get their usual size
        worker = gateway.worker

        def is_quiet():
            figures = gateway.metrics()
            return (figures["penstock_requests_in_flight"] <= 1 and
                    figures["penstock_upstream_connections_busy"] == 0 and
                    figures["penstock_connections"] <= 2)
        wait_for(is_quiet, 30, "the first round's end")
        before, open_before = rss_kib(worker), descriptors(worker)
        start = time.monotonic()
        outcomes = asyncio.run(many_streams(gateway, count, pause_ms))
        print(f"{count} streams in {time.monotonic() - start:.1f} s")
        share = count // 100
        odd = [o for o in outcomes if o.startswith("odd")]
        assert not odd, (len(odd), odd[:3])
        assert outcomes.count("vanished") == share
        assert outcomes.count("broken") == share
        assert outcomes.count("whole") == count - 2 * share
        wait_for(is_quiet, 30, "the end of all calls")
        assert gateway.worker == worker, "the worker died"
        figures = gateway.metrics()
        idle = figures["penstock_upstream_connections_idle"]
        assert descriptors(worker) <= open_before + idle + 20
        # The sanitizer keeps what was freed for a while, so that it can tell of its use.
        spare = 256 << 10 if IS_SANITIZED else 4 << 10
        wait_for(lambda: rss_kib(worker) <= before + spare, 20,
                 f"{before} KiB again, not {rss_kib(worker)}")
        wait_for(lambda: len(gateway.log_lines()) + gateway.metric("access_log_dropped_total") ==
                 2 * count, 20, "the last lines")
        assert figures["penstock_fibers"] < 50
    finally:
        mock.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_2000_streams(tmp_path, start_gateway):
    count = 500 if IS_SANITIZED else 2000
    churn(tmp_path, start_gateway, count, 50)


@pytest.mark.long
def test_10000_streams(tmp_path, start_gateway):
    churn(tmp_path, start_gateway, 10000, 500)


