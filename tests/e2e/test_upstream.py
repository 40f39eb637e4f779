"""Providers that are slow, cut, lie, reset, stall, and say odd things: one outcome for each."""

import asyncio
import json
import time

import pytest

from conftest import over
from gateway import KEY, PATIENCE, free_port, wait_for
from upstream import Upstream, answer_well, completion, delta
from wire import Closed, RawClient, request

AUTH = ("Authorization", f"Bearer {KEY}")
OK = json.dumps(completion()).encode()


def chat(model="m", stream=False, fields=()):
    body = json.dumps({"model": model, "messages": [], "stream": stream}).encode()
    return request("POST", "/v1/chat/completions", [AUTH, *fields], body)


def scripted(upstream, data, then="close"):
    """Answers with these bytes, then closes, resets, hangs, or keeps the connection."""
    async def script(call):
        await call.send(data)
        if then == "hang":
            await call.hang()
        elif then != "keep":
            getattr(call, then)()
    upstream.default = script


def ask(gateway, **keywords):
    with RawClient(gateway.address, 15 * PATIENCE) as client:
        return client.ask(chat(**keywords))


def error_of(answer):
    return json.loads(answer.body)["error"]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % len(OK)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

# --- answers that are right, however they come ------------------------------------------------------

RIGHT = {
    "length": (LENGTH + OK, "keep"),
    "length_then_close": (LENGTH + OK, "close"),
    "until_close": (HEAD + b"\r\n" + OK, "close"),
    "http_1_0": (HEAD.replace(b"1.1", b"1.0") + b"\r\n" + OK, "close"),
    "chunked": (CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(OK), OK), "keep"),
    "chunked_in_two": (CHUNKED + b"5;x=y\r\n%s\r\n%X\r\n%s\r\n0\r\nX: y\r\n\r\n" %
                       (OK[:5], len(OK) - 5, OK[5:]), "keep"),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" +
                LENGTH + OK, "keep"),
    "no_reason": (LENGTH.replace(b"200 OK", b"200 ") + OK, "keep"),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("step", [None, 1, 13])
def test_right_answer(gateway, upstream, name, step):
    data, then = RIGHT[name]

    async def script(call):
        for at in range(0, len(data), step or len(data)):
            await call.send(data[at:at + (step or len(data))])
            await asyncio.sleep(0)
        if then == "close":
            call.close()
    upstream.default = script
    for _ in range(2):
        answer = ask(gateway)
        assert (answer.status, answer.body) == (200, OK)


@pytest.mark.parametrize("status", [201, 400, 404, 409, 413, 422, 429, 500, 503, 529])
def test_status_is_passed_on(gateway, upstream, status):
    body = b'{"error":{"message":"no","type":"t","code":"c"}}'
    scripted(upstream, b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nRetry-After: 9\r\n\r\n%s" %
             (status, len(body), body), "keep")
    answer = ask(gateway)
    assert (answer.status, answer.body) == (status, body)
    assert answer.header("retry-after") == "9"


# --- answers that are wrong -------------------------------------------------------------------------

WRONG = {
    "nothing": (b"", "close"),
    "nothing_reset": (b"", "reset"),
    "half_a_line": (b"HTTP/1.1 2", "close"),
    "half_a_head": (HEAD, "close"),
    "head_only": (LENGTH, "close"),
    "half_a_body": (LENGTH + OK[:20], "close"),
    "half_a_body_reset": (LENGTH + OK[:20], "reset"),
    "length_too_large": (HEAD + b"Content-Length: 9999\r\n\r\n" + OK, "close"),
    "length_too_small": (HEAD + b"Content-Length: 20\r\n\r\n" + OK, "close"),
    "two_lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + OK, "close"),
    "bad_length": (HEAD + b"Content-Length: x\r\n\r\n" + OK, "close"),
    "both_framings": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") +
                      b"0\r\n\r\n", "close"),
    "bad_chunk": (CHUNKED + b"zz\r\n" + OK, "close"),
    "half_a_chunk": (CHUNKED + b"%x\r\n" % len(OK) + OK[:9], "close"),
    "no_last_chunk": (CHUNKED + b"%x\r\n%s\r\n" % (len(OK), OK), "close"),
    "unknown_coding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + OK, "close"),
    "garbage": (bytes(range(256)) * 4, "close"),
    "no_http": (b"SSH-2.0-OpenSSH_9.2\r\n", "close"),
    "bad_version": (b"HTTP/3.0 200 OK\r\n\r\n", "close"),
    "bad_status": (b"HTTP/1.1 20 OK\r\n\r\n", "close"),
    "folded": (HEAD + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "bare_cr": (HEAD + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "nul": (HEAD + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                "close"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                 "keep"),
    "no_json": (HEAD + b"Content-Length: 5\r\n\r\nhello", "keep"),
    "html": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
             "keep"),
    "empty": (HEAD + b"Content-Length: 0\r\n\r\n", "keep"),
    "our_key": (b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}", "keep"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answer(gateway, upstream, name):
    """502 in the caller's dialect, once; and the next call is answered."""
    scripted(upstream, *WRONG[name])
    with RawClient(gateway.address, 15 * PATIENCE) as client:
        answer = client.ask(chat())
        assert answer.status == 502, answer.body
        error = error_of(answer)
        assert error["code"] == "upstream_error"
        assert "house/m" in error["message"]
        assert len(upstream.requests) == 1
        upstream.default = answer_well
        again = client.ask(chat())
        assert (again.status, again.body) == (200, OK)
    record = gateway.record(answer.header("x-request-id"))
    assert (record["status"], record["error"]) == (502, "upstream_error")


@pytest.mark.parametrize("cut", range(0, len(LENGTH + OK), 17))
def test_answer_cut_anywhere(gateway, upstream, cut):
    scripted(upstream, (LENGTH + OK)[:cut], "reset" if cut % 2 else "close")
    assert ask(gateway).status == 502


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", LENGTH, LENGTH + OK[:30],
                                  CHUNKED + b"5\r\nab"])
def test_stalled_answer(gateway, upstream, data):
    scripted(upstream, data, "hang")
    answer = ask(gateway, fields=[("x-penstock-timeout", "200ms")])
    assert answer.status == 504
    assert error_of(answer)["code"] == "upstream_timeout"
    assert upstream.requests[0].connection.closed.wait(10)


def test_deadlines_of_the_provider(start_gateway, upstream):
    settings = over(upstream.base_url)
    settings["providers"]["house"].update(first_byte_timeout="200ms", idle_timeout="300ms")
    gateway = start_gateway(settings)
    for data in (b"", LENGTH + OK[:30]):
        scripted(upstream, data, "hang")
        start = time.monotonic()
        assert ask(gateway).status == 504
        assert time.monotonic() - start < 5 * PATIENCE


def test_second_target_after_every_wrong_answer(start_gateway, upstream):
    gateway = start_gateway(over(upstream.base_url, models={
        "m": {"targets": ["house/bad", "house/good"]}}))
    for name, (data, then) in WRONG.items():
        scripted(upstream, data, then)
        upstream.scripts["bad"] = upstream.default
        upstream.scripts["good"] = answer_well
        answer = ask(gateway)
        assert (name, answer.status, answer.body) == (name, 200, OK)
        assert answer.header("x-penstock-target") == "house/good"
        assert answer.header("x-penstock-fallback").startswith("house/bad: ")


# --- streams ----------------------------------------------------------------------------------------

EVENTS = b"".join(b"data: " + json.dumps(delta(word)).encode() + b"\n\n"
                  for word in ("Hel", "lo", " wor", "ld.")) + b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100000])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_stream_in_pieces_of_any_size(gateway, upstream, step, framing):
    async def script(call):
        if framing == "chunked":
            await call.begin_stream()
        elif framing == "length":
            await call.send(STREAM + b"Content-Length: %d\r\n\r\n" % len(EVENTS))
        else:
            await call.send(STREAM + b"\r\n")
        for at in range(0, len(EVENTS), step):
            piece = EVENTS[at:at + step]
            await (call.chunk(piece) if framing == "chunked" else call.send(piece))
            await asyncio.sleep(0)
        if framing == "chunked":
            await call.end_stream()
        elif framing == "close":
            call.close()
    upstream.default = script
    answer = ask(gateway, stream=True)
    assert answer.body == EVENTS


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("cut", range(len(EVENTS) // 9, len(EVENTS), 61))
def test_stream_cut_anywhere(gateway, upstream, how, cut):
    """What came is passed on; then the caller sees an error, and no clean end."""
    async def script(call):
        await call.begin_stream()
        await call.chunk(EVENTS[:cut])
        await asyncio.sleep(0.02)  # a reset overtakes what is under way
        getattr(call, how)()
    upstream.default = script
    with RawClient(gateway.address, 15 * PATIENCE) as client:
        client.send(chat(stream=True))
        assert client.read_head()[0] == 200
        body = b""
        with pytest.raises(Closed):
            while True:
                chunk = client.read_chunk()
                assert chunk, "a clean end"
                body += chunk
    assert body.startswith(EVENTS[:cut])
    rest = body[cut:].decode()
    assert rest.startswith("\n\ndata: ") or rest.startswith("data: ")
    error = json.loads(rest.strip().removeprefix("data: "))["error"]
    assert error["code"] == "upstream_error"


def test_first_chunk_is_not_held_back(gateway, upstream):
    go_on = asyncio.Event()

    async def script(call):
        await call.begin_stream()
        await call.event(delta("first"))
        await go_on.wait()
        await call.event("[DONE]")
        await call.end_stream()
    upstream.default = script
    with RawClient(gateway.address) as client:
        client.send(chat(stream=True))
        assert client.read_head()[0] == 200
        assert b"first" in client.read_chunk()
        upstream.loop.call_soon_threadsafe(go_on.set)
        assert b"[DONE]" in client.read_chunked()


@pytest.mark.long  # depends on how loaded the machine is
def test_stream_with_an_endless_line(gateway, upstream):
    async def script(call):
        await call.begin_stream()
        while not call.connection.closed.is_set():
            await call.chunk(b"x" * 65536)
    upstream.default = script
    with RawClient(gateway.address, 30 * PATIENCE) as client:
        client.send(chat(stream=True))
        client.take_until_closed()
    assert upstream.requests[0].connection.closed.wait(10)
    upstream.default = answer_well
    assert ask(gateway).status == 200


def test_error_instead_of_a_stream(gateway, upstream):
    body = b'{"error":{"message":"no such thing","code":"c"}}'
    scripted(upstream, b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\n"
             b"Content-Length: %d\r\n\r\n%s" % (len(body), body), "keep")
    answer = ask(gateway, stream=True)
    assert (answer.status, answer.body) == (400, body)
    assert answer.header("content-type") == "application/json"


def test_whole_answer_where_a_stream_was_asked_for(gateway, upstream):
    scripted(upstream, LENGTH + OK, "keep")
    answer = ask(gateway, stream=True)
    assert (answer.status, answer.body) == (200, OK)


# --- connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
def test_stale_connections_are_not_the_callers_problem(start_gateway, upstream, how):
    """The provider closes each connection after its first answer, without a word."""
    async def once(call):
        await answer_well(call)
        getattr(call, how)()
    upstream.default = once
    gateway = start_gateway(over(upstream.base_url, workers=1))
    for i in range(30):
        assert ask(gateway).status == 200, i
        # A request that is under way when the news comes is lost: only nothing can be sent twice.
        wait_for(lambda: gateway.metric("upstream_connections_idle") == 0, what="the news")
    assert len(upstream.requests) == 30


def test_connection_that_dies_with_a_request_on_it(start_gateway, upstream):
    """A pooled connection that dies when it is used: sent or not cannot be known, so the call is
    not sent twice by itself; another target may be asked."""
    async def second_kills(call):
        if call.connection.answered:
            call.reset()
        else:
            await answer_well(call)
    upstream.default = second_kills
    gateway = start_gateway(over(upstream.base_url, workers=1))
    assert ask(gateway).status == 200
    assert ask(gateway).status in (200, 502)
    assert len(upstream.requests) <= 3


def test_no_bytes_behind_an_answer(start_gateway, upstream):
    """A provider that sends more than it announced loses the connection: what follows would be
    taken for the answer to the next call."""
    scripted(upstream, LENGTH + OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "keep")
    gateway = start_gateway(over(upstream.base_url, workers=1))
    for _ in range(3):
        answer = ask(gateway)
        assert b"evil" not in answer.body
    assert len({id(r.connection) for r in upstream.requests}) == 3


def test_nobody_listens(start_gateway):
    gateway = start_gateway(over(f"http://127.0.0.1:{free_port()}/v1"))
    answer = ask(gateway)
    assert answer.status == 502
    assert "connect" in error_of(answer)["message"]


def test_name_that_does_not_resolve(start_gateway):
    gateway = start_gateway(over("http://no-such-host.invalid/v1"))
    answer = ask(gateway, fields=[("x-penstock-timeout", "5s")])
    assert answer.status in (502, 504)
    assert "no-such-host.invalid" in error_of(answer)["message"]


def test_unix_socket(start_gateway, tmp_path):
    with Upstream(str(tmp_path / "provider.sock")) as upstream:
        gateway = start_gateway(over(upstream.base_url))
        for _ in range(3):
            assert ask(gateway).status == 200
        assert len(upstream.connections) <= 2


def test_egress_proxy(start_gateway, upstream):
    """A proxy in the clear sees one CONNECT, with its own credentials, and then bytes."""
    asked = []

    async def proxy(call):
        asked.append(call.request)
        host, port = call.request.target.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await call.send(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def back():
            while data := await reader.read(65536):
                await call.send(data)
        task = asyncio.create_task(back())
        connection = call.connection
        while connection.unread or await connection.wait_for_more():
            writer.write(connection.take(len(connection.unread)))
        task.cancel()
        writer.close()
        call.keep = False
    with Upstream() as middle:
        middle.default = proxy
        settings = over(upstream.base_url)
        settings["providers"]["house"]["proxy"] = \
            f"http://user:pass-canary-1@127.0.0.1:{middle.port}"
        gateway = start_gateway(settings)
        assert ask(gateway).status == 200
        assert asked[0].method == "CONNECT"
        assert asked[0].target == f"localhost:{upstream.port}"
        assert asked[0].header("proxy-authorization").startswith("Basic ")
    assert b"canary-1" not in upstream.requests[0].raw
