"""Reload: by HUP and by command, good files and bad ones, and under load."""

import asyncio
import json
import os
import re
import signal
import socket
import threading

import pytest

from conftest import over
from gateway import KEY, LIMITED_KEY, PATIENCE, free_port, run, wait_for
from load import Load
from upstream import Upstream, delta
from wire import RawClient, request

OTHER_KEY = "pk-other-canary-66cc10"


@pytest.fixture(params=["hup", "command", "admin"])
def reload(request):  # pylint: disable=redefined-outer-name
    """reload(gateway): makes it read its file again, and returns when it has."""
    def by_hup(gateway):
        before = gateway.metric("config_generation")
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: gateway.metric("config_generation") > before, what="the reload")

    def by_command(gateway):
        done = run("reload", "-c", gateway.file)
        assert (done.returncode, done.stdout) == (0, "reloaded\n"), done.stderr

    def by_admin(gateway):
        answer = gateway.admin("POST", "/admin/v1/reload")
        assert answer.status_code == 200, answer.text
    return {"hup": by_hup, "command": by_command, "admin": by_admin}[request.param]


def now(gateway):
    assert run("reload", "-c", gateway.file).returncode == 0


def test_models_and_keys(gateway, reload):
    assert gateway.chat("m", key=OTHER_KEY).status_code == 401
    gateway.configure({"models": {"new": "house/new"},
                       "keys": [{"name": "other", "key": OTHER_KEY}]})
    assert gateway.chat("m").status_code == 200  # not yet read
    reload(gateway)
    assert gateway.chat("new", key=OTHER_KEY).status_code == 200
    assert gateway.chat("m", key=OTHER_KEY).status_code == 404
    assert gateway.chat("new").status_code == 401
    assert gateway.record(gateway.chat("new", key=OTHER_KEY).headers["x-request-id"])["key"] == \
        "other"


def test_another_provider(gateway, upstream, reload):
    with Upstream() as other:
        assert gateway.chat("m").status_code == 200
        gateway.configure(over(other.base_url))
        reload(gateway)
        assert gateway.chat("m").status_code == 200
        assert (len(upstream.requests), len(other.requests)) == (1, 1)


def test_listen_address(gateway, reload):
    """A new address is served, the old one is not any more; what is under way there goes on."""
    old, port = gateway.port, free_port()
    with RawClient(gateway.address) as client:
        assert client.ask(request("GET", "/healthz")).status == 200
        gateway.configure({"listen": [f"127.0.0.1:{old}", f"127.0.0.1:{port}"]})
        reload(gateway)
        gateway.port = port
        assert gateway.chat("m").status_code == 200
        gateway.configure({"listen": f"127.0.0.1:{port}"})
        now(gateway)
        assert client.ask(request("GET", "/healthz")).status == 200
    with pytest.raises(ConnectionRefusedError):
        RawClient(("127.0.0.1", old))
    assert gateway.chat("m").status_code == 200


def test_address_that_is_taken(gateway):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = gateway.settings["listen"]
        gateway.configure({"listen": [own, f"127.0.0.1:{port}"]})
        done = run("reload", "-c", gateway.file)
        assert done.returncode == 1
        assert str(port) in done.stderr
    assert gateway.chat("m").status_code == 200


BAD = {
    "unknown_word": ("listen: 127.0.0.1:1\nkays: []\n", r":2:1: .*keys"),
    "yaml": ("listen: [\n", r":\d+:\d+: "),
    "reference": ("providers: {house: {dialect: openai, base_url: \"http://x/v1\"}}\n"
                  "models:\n  m: hose/m\n", r":3:6: .*house"),
    "short_key": ("keys:\n  - {name: a, key: short}\n", r":2:20: .*16"),
    "placeholder": ("keys:\n  - {name: a, key: your-api-key-here}\n", r":2:20: "),
    "absent_variable": ("keys:\n  - {name: a, key: \"${NO_SUCH_VARIABLE}\"}\n",
                        r":2:\d+: .*NO_SUCH_VARIABLE"),
    "wrong_type": ("workers: many\n", r":1:10: "),
    "not_utf8": (b"listen: \xff\n", r":1:\d+: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_changes_nothing(gateway, name):
    text, message = BAD[name]
    gateway.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    checked = run("check", "-c", gateway.file)
    assert checked.returncode == 1
    assert re.search(re.escape(str(gateway.file)) + message, checked.stderr), checked.stderr
    # The command would take the address and the key from the file, which is bad.
    answer = gateway.admin("POST", "/admin/v1/reload")
    assert answer.status_code == 422
    assert re.search(re.escape(str(gateway.file)) + message, answer.json()["message"])
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.metric("config_reloads_failed_total") >= 2, what="the refusals")
    assert gateway.chat("m").status_code == 200
    assert gateway.metric("config_generation") == 1
    gateway.configure({})
    now(gateway)
    assert gateway.chat("m").status_code == 200
    assert gateway.metric("config_generation") == 2


def test_absent_file_changes_nothing(gateway):
    gateway.file.unlink()
    assert gateway.admin("POST", "/admin/v1/reload").status_code == 422
    assert gateway.chat("m").status_code == 200


def test_calls_in_flight_keep_their_snapshot(gateway, upstream):
    """The key and the model of a stream are gone, and the stream ends as it began."""
    go_on = threading.Event()

    async def paused(call):
        await call.begin_stream()
        await call.event(delta("a"))
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await call.event("[DONE]")
        await call.end_stream()
    upstream.scripts["long"] = paused
    body = b'{"model":"long","messages":[],"stream":true}'
    with RawClient(gateway.address) as client:
        client.send(request("POST", "/v1/chat/completions", [("Authorization", f"Bearer {KEY}")],
                            body))
        _, fields = client.read_head()
        client.read_chunk()
        for i in range(5):
            gateway.configure({"keys": [{"name": f"other{i}", "key": OTHER_KEY}],
                               "models": {f"m{i}": "house/m"}})
            now(gateway)
            assert gateway.chat("long").status_code == 401
        go_on.set()
        assert b"[DONE]" in client.read_chunked()
        record = gateway.record(dict(fields)["x-request-id"])
        assert (record["key"], record["model"], record["status"]) == ("caller", "long", 200)


def test_log_file_is_opened_anew(gateway):
    """What logrotate does."""
    assert gateway.chat("m").status_code == 200
    wait_for(lambda: len(gateway.log_lines()) == 1, what="the first line")
    gateway.log_file.rename(gateway.folder / "access.log.1")
    now(gateway)
    answer = gateway.chat("m")
    assert gateway.record(answer.headers["x-request-id"])
    assert len(gateway.log_lines()) == 1


def reload_under_load(gateway, mock, count):
    """Each snapshot has its own model for the name that all ask for: an answer that mixes two
    snapshots would show."""
    house = {"dialect": "openai", "base_url": mock.base_url}
    keys = [{"name": "caller", "key": KEY}]
    with Load(gateway, "small", threads=3) as calls, \
         Load(gateway, "small", threads=2, stream=True) as streams, \
         Load(gateway, "small", threads=1, fresh=True) as fresh:
        for i in range(count):
            gateway.configure({"providers": {f"house{i % 3}": house},
                               "models": {"small": f"house{i % 3}/mock-ok+id-{i % 5}"},
                               "keys": keys + [{"name": "x", "key": LIMITED_KEY}] * (i % 2)})
            answer = gateway.admin("POST", "/admin/v1/reload")
            assert answer.status_code == 200, answer.text
        calls.wait_for_calls(10)
    for load in (calls, streams, fresh):
        assert set(load.outcomes) == {200}, (load.outcomes, load.bad)
    for record in map(json.loads, gateway.log_lines()):
        provider, model = record["target"].split("/")
        assert record["status"] == 200
        assert (provider[:5], model[:11]) == ("house", "mock-ok+id-") or model == "mock-ok"
    assert gateway.metric("config_generation") == count + 1
    assert gateway.metric("config_reloads_failed_total") == 0


def start_small(start_gateway, mock):
    return start_gateway(over(mock.base_url, models={"small": "house/mock-ok"}))


def test_reloads_under_load(start_gateway, mock):
    reload_under_load(start_small(start_gateway, mock), mock, 20 if PATIENCE > 1 else 60)


@pytest.mark.long
def test_1000_reloads_under_load(start_gateway, mock):
    gateway = start_small(start_gateway, mock)
    gateway.chat("small")
    reload_under_load(gateway, mock, 1000)


def test_reloads_leave_no_memory_behind(start_gateway, upstream):
    gateway = start_gateway(over(upstream.base_url, models={
        f"m{i}": "house/m" for i in range(300)}))

    def rss():
        text = open(f"/proc/{gateway.worker}/status", encoding="ascii").read()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

    def descriptors():
        return len(os.listdir(f"/proc/{gateway.worker}/fd"))
    for _ in range(20):
        now(gateway)
    before, open_before = rss(), descriptors()
    for _ in range(60):
        now(gateway)
    assert descriptors() <= open_before + 2
    assert rss() <= before + (4096 if PATIENCE == 1 else 65536)  # the sanitizer keeps what is freed
