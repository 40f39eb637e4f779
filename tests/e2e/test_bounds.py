"""The bounds of the server, and ends that nobody planned."""

import os
import signal
import socket
import time

import pytest

from conftest import over
from gateway import KEY, PATIENCE, run, wait_for
from test_lifecycle import Paused, begin_stream
from test_tls_h2 import pki, start_tls  # noqa: F401 (fixtures)
from wire import Closed, RawClient, request

HEALTH = request("GET", "/healthz")


def test_half_a_head_is_no_request(start_gateway, upstream):
    """Whoever sends heads slowly must not use up what calls may be in flight."""
    gateway = start_gateway(over(upstream.base_url, workers=1, limits={"requests": 2}))
    slow = [RawClient(gateway.address) for _ in range(8)]
    for client in slow:
        client.send(b"GET /healthz HTTP/1.1\r\nHost:")
    with RawClient(gateway.address) as client:
        assert client.ask(HEALTH).status == 200
    for client in slow:
        client.send(b" h\r\n\r\n")
        client.socket.close()


def test_as_many_requests_as_configured(start_gateway, upstream):
    script = Paused(upstream)
    gateway = start_gateway(over(upstream.base_url, workers=1, limits={"requests": 1}))
    with begin_stream(gateway) as first, RawClient(gateway.address) as second:
        refused = second.ask(HEALTH)
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        script.go_on.set()
        assert b"[DONE]" in first.read_chunked()
    with RawClient(gateway.address) as again:
        assert again.ask(HEALTH).status == 200


def test_a_stream_outlives_the_master(gateway, upstream):
    """The worker drains: what is under way comes to its end."""
    script = Paused(upstream)
    worker = gateway.worker
    with begin_stream(gateway) as client:
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.process.wait(5)
        gateway.process.returncode = 0  # killed, as was asked
        time.sleep(0.3)
        script.go_on.set()
        assert b"[DONE]" in client.read_chunked()
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"), what="the worker's end")


def test_draining_costs_nothing(gateway, upstream):
    """While one thread's stream goes on, the others are idle, and the main thread sleeps."""
    script = Paused(upstream)
    with begin_stream(gateway) as client:
        worker = gateway.worker
        gateway.signal(signal.SIGTERM)
        time.sleep(0.5)
        before = cpu_ticks(worker)
        time.sleep(1)
        assert cpu_ticks(worker) - before < 20 * PATIENCE
        script.go_on.set()
        assert b"[DONE]" in client.read_chunked()
    gateway.process.wait(15 * PATIENCE)
    gateway.judge()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_stop_waits_for_no_handshake(start_tls):  # noqa: F811
    gateway = start_tls()
    with socket.create_connection(("127.0.0.1", gateway.tls_port)):
        time.sleep(0.2)  # it is accepted, and silent: ten seconds are its due
        start = time.monotonic()
        gateway.signal(signal.SIGQUIT)
        gateway.process.wait(15 * PATIENCE)
        assert time.monotonic() - start < 3 * PATIENCE
    gateway.judge()


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_stream_that_stops_is_late_and_not_broken(start_gateway, version):
    """The gateway is its own provider here: so it speaks either version."""
    gateway = start_gateway({"providers": {"mock": {}}})
    port = gateway.port
    gateway.configure({
        "providers": {"mock": {},
                      "itself": {"dialect": "openai", "base_url": f"http://127.0.0.1:{port}/v1",
                                 "api_key": KEY, "http": version, "idle_timeout": "200ms"}},
        "timeouts": {"drain": "300ms"},  # the inner call does not notice that the outer one left
        "models": {"mock-*": "mock/mock-*", "late-*": "itself/mock-*"},
    })
    assert run("reload", "-c", gateway.file).returncode == 0
    body = (b'{"model":"late-stall-after-2","stream":true,'
            b'"messages":[{"role":"user","content":"x"}]}')
    with RawClient(gateway.address) as client:
        client.send(request("POST", "/v1/chat/completions", [("Authorization", f"Bearer {KEY}")],
                            body))
        assert client.read_head()[0] == 200
        said = b""
        with pytest.raises(Closed):
            while True:
                said += client.read_chunk()
    assert b'"upstream_timeout"' in said
