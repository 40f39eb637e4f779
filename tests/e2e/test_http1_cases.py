"""HTTP/1 over the real socket: the table of raw bytes, deadlines, sizes, encodings, goodbyes."""

import asyncio
import gzip
import json
import re
import time
import zlib

import pytest

from conftest import over
from gateway import KEY, PATIENCE, Gateway
from http1_cases import CASES
from upstream import Upstream, answer_well
from wire import Closed, RawClient, request

HEALTH = request("GET", "/healthz")
# The one case that the server answers otherwise than its parser: it goes over to HTTP/2.
CASES = [case for case in CASES if case.name != "h2_preface"]
AUTH = ("Authorization", f"Bearer {KEY}")
BODY = b'{"model":"m","messages":[]}'
CHAT = request("POST", "/v1/chat/completions", [AUTH], BODY)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A gateway over a recording upstream, one for the whole table."""
    with Upstream() as upstream:
        gateway = Gateway(tmp_path_factory.mktemp("strict"), over(upstream.base_url)).start()
        gateway.upstream = upstream
        yield gateway
        gateway.stop()


def judge(client, case):
    """Reads what the table says should come, and that it is all that comes."""
    methods = re.findall(rb"(?:^|\n)HEAD ", case.data)
    for outcome in case.outcomes:
        if outcome == "more":
            assert client.is_silent(0.05), client.received
            return
        answer = client.read_answer("HEAD" if methods else "GET")
        status, _, close = outcome.partition(" ")
        if status != "ok":
            assert answer.status == int(status), answer.body
        if close:
            assert answer.closes
            assert client.take_until_closed() == b""
            return
    if case.outcomes[-1] != "ok":  # such a path may want the connection closed
        assert client.ask(HEALTH).status == 200, "the connection does not stay open"
    client.shut()
    assert client.take_until_closed() == b""


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(strict, case):
    with RawClient(strict.address, 10 * PATIENCE) as client:
        client.send(case.data)
        judge(client, case)


@pytest.mark.parametrize("case", CASES[::7], ids=[case.name for case in CASES[::7]])
def test_case_byte_by_byte(strict, case):
    if len(case.data) > 2000:
        pytest.skip("too long to be sent byte by byte")
    with RawClient(strict.address, 10 * PATIENCE) as client:
        client.send_slowly(case.data)
        judge(client, case)


REFUSED = [case for case in CASES if case.is_refused]


@pytest.mark.parametrize("case", REFUSED, ids=[case.name for case in REFUSED])
def test_refused_after_a_good_one(strict, case):
    """The call before is answered first, and nothing of the refused one reaches the provider."""
    data = case.data.replace(b"GET /healthz", b"POST /v1/chat/completions?key=" + KEY.encode())
    strict.upstream.clear()
    with RawClient(strict.address, 10 * PATIENCE) as client:
        client.send(CHAT + data)
        assert client.read_answer().status == 200
        answer = client.read_answer()
        assert answer.status == int(case.outcomes[0][:3])
        assert answer.closes
        assert client.take_until_closed() == b""
    assert [r.body for r in strict.upstream.requests] == [BODY]
    assert strict.upstream.received() == [strict.upstream.requests[0].raw]


def test_refusals_are_json_in_the_dialect(strict):
    with RawClient(strict.address) as client:
        answer = client.ask(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert answer.header("content-type") == "application/json"
        error = json.loads(answer.body)["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]


# --- pipelining -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 1, 7, 100])
def test_pipelined_calls_are_answered_in_order(strict, step):
    async def echo(call):
        await call.reply({"said": call.request.json["messages"][0]["content"]})
    strict.upstream.scripts["echo"] = echo
    strict.upstream.clear()
    calls = b"".join(
        request("POST", "/v1/chat/completions", [AUTH], json.dumps(
            {"model": "echo", "messages": [{"role": "user", "content": f"number {i}"}]}).encode())
        for i in range(20))
    with RawClient(strict.address, 10 * PATIENCE) as client:
        if step:
            client.send_slowly(calls, step)
        else:
            client.send(calls)
        for i in range(20):
            assert json.loads(client.read_answer().body) == {"said": f"number {i}"}
    assert len(strict.upstream.requests) == 20


def test_chunked_body_reaches_the_provider_whole(strict):
    strict.upstream.clear()
    chunks = b"".join(b"%x;x=y\r\n%s\r\n" % (len(p), p) for p in (BODY[:1], BODY[1:9], BODY[9:]))
    head = request("POST", "/v1/chat/completions", [AUTH, ("Transfer-Encoding", "chunked")])
    with RawClient(strict.address) as client:
        assert client.ask(head + chunks + b"0\r\nTrailer: x\r\n\r\n").status == 200
        assert client.ask(CHAT).status == 200
    assert [r.body for r in strict.upstream.requests] == [BODY, BODY]


# --- deadlines --------------------------------------------------------------------------------------


@pytest.fixture
def hasty(start_gateway, upstream):
    """A gateway whose deadlines are short."""
    return start_gateway(over(upstream.base_url, timeouts={
        "header": "300ms", "body": "300ms", "write": "500ms", "keepalive": "400ms"}))


def closed_in_time(client):
    assert client.wait_until_closed(10 * PATIENCE) < 5 * PATIENCE


def test_slow_header(hasty):
    with RawClient(hasty.address, 10 * PATIENCE) as client:
        start = time.monotonic()
        try:
            while client.send(b"X"):
                if not client.is_silent(0.05):
                    break
        except Closed:
            pass
        assert time.monotonic() - start < 5 * PATIENCE
        closed_in_time(client)
    assert hasty.metric("timeouts_total") >= 1


def test_slow_body(hasty, upstream):
    with RawClient(hasty.address, 10 * PATIENCE) as client:
        client.send(CHAT[:-5])
        answer = client.read_answer()
        assert answer.status == 408
        assert json.loads(answer.body)["error"]["code"] == "request_timeout"
        closed_in_time(client)
    assert not upstream.requests


def test_silent_connection(hasty):
    with RawClient(hasty.address) as client:
        closed_in_time(client)
    with RawClient(hasty.address) as client:
        assert client.ask(HEALTH).status == 200
        closed_in_time(client)


def test_slow_reader(hasty, upstream):
    """A client that reads nothing of its stream slows its upstream, then loses both."""
    sent = 0

    async def flood(call):
        nonlocal sent
        await call.begin_stream()
        while not call.connection.closed.is_set():
            await call.event("x" * 10000)
            sent += 10000
    upstream.default = flood
    with RawClient(hasty.address) as client:
        client.send(CHAT)
        upstream.wait_for_requests(1)
        assert upstream.connections[0].closed.wait(10 * PATIENCE)
        assert sent < 64 << 20  # bounded by buffers, not by what there is to send
        closed_in_time(client)


def test_slow_peers_do_not_hold_up_others(hasty):
    slow = [RawClient(hasty.address) for _ in range(50)]
    for client in slow:
        client.send(CHAT[:20])
    with RawClient(hasty.address) as client:
        assert client.ask(CHAT).status == 200
    for client in slow:
        closed_in_time(client)
        client.socket.close()


# --- sizes and encodings ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with Upstream() as upstream:
        gateway = Gateway(tmp_path_factory.mktemp("small"),
                          over(upstream.base_url, limits={"body": "64KiB"})).start()
        gateway.upstream = upstream
        yield gateway
        gateway.stop()


def post(fields=(), body=BODY):
    return request("POST", "/v1/chat/completions", [AUTH, *fields], body)


def padded(size):
    """A good call of exactly that many bytes."""
    return BODY[:-1] + b" " * (size - len(BODY)) + b"}"


def refused(gateway, data, status, code):
    gateway.upstream.clear()
    with RawClient(gateway.address, 10 * PATIENCE) as client:
        answer = client.ask(data)
        assert answer.status == status, answer.body
        assert json.loads(answer.body)["error"]["code"] == code
        if answer.closes:
            client.take_until_closed()
    assert not gateway.upstream.requests


def test_body_at_its_limit(small):
    with RawClient(small.address) as client:
        assert client.ask(post(body=padded(64 * 1024))).status == 200
    refused(small, post(body=padded(64 * 1024 + 1)), 413, "request_too_large")


def test_chunked_body_beyond_its_limit(small):
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    data = request("POST", "/v1/chat/completions", [AUTH, ("Transfer-Encoding", "chunked")])
    refused(small, data + chunk * 4 + b"0\r\n\r\n", 413, "request_too_large")


def test_announced_body_is_refused_before_it_comes(small):
    data = request("POST", "/v1/chat/completions", [AUTH, ("Content-Length", str(1 << 40))])
    refused(small, data, 413, "request_too_large")


def test_gzip_body(small):
    small.upstream.clear()
    with RawClient(small.address) as client:
        assert client.ask(post([("Content-Encoding", "gzip")],
                               gzip.compress(BODY))).status == 200
        assert client.ask(CHAT).status == 200
    assert [r.body for r in small.upstream.requests] == [BODY, BODY]
    assert small.upstream.requests[0].header("content-encoding") is None


def test_gzip_body_at_its_limit(small):
    fields = [("Content-Encoding", "gzip")]
    with RawClient(small.address) as client:
        assert client.ask(post(fields, gzip.compress(padded(64 * 1024)))).status == 200
    refused(small, post(fields, gzip.compress(padded(64 * 1024 + 1))), 413, "request_too_large")


def test_gzip_bomb(small):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(40)) + packer.flush()
    assert len(bomb) < 64 * 1024
    refused(small, post([("Content-Encoding", "gzip")], bomb), 413, "request_too_large")


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(BODY)[:-1], gzip.compress(BODY)[:-9],
                                  gzip.compress(BODY) + b"x", gzip.compress(BODY)[:-4] + b"\1" * 4])
def test_broken_gzip_body(small, body):
    refused(small, post([("Content-Encoding", "gzip")], body), 400, "invalid_request")


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "x"])
def test_other_encodings(small, coding):
    refused(small, post([("Content-Encoding", coding)]), 415, "unsupported_media_type")


def test_head_beyond_its_limits(small):
    refused(small, request("GET", "/" + "x" * 9000), 414, "uri_too_long")
    refused(small, post([("X-Long", "x" * 40000)]), 431, "headers_too_large")
    refused(small, post([("X-Many", str(i)) for i in range(200)]), 431, "headers_too_large")


# --- Expect, versions, methods ----------------------------------------------------------------------


def test_expect_continue(strict):
    with RawClient(strict.address) as client:
        client.send(request("POST", "/v1/chat/completions", [
            AUTH, ("Expect", "100-continue"), ("Content-Length", str(len(BODY)))]))
        assert client.read_head()[0] == 100
        assert client.ask(BODY).status == 200


def test_expect_continue_of_what_is_refused(strict):
    """No invitation for a body that nobody will read."""
    with RawClient(strict.address) as client:
        answer = client.ask(request("POST", "/v1/chat/completions", [
            ("Expect", "100-continue"), ("Content-Length", str(len(BODY)))]))
        assert answer.status == 401
        assert answer.interim == []


def test_http_1_0_call(strict):
    with RawClient(strict.address) as client:
        answer = client.ask(CHAT.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.status == 200
        assert answer.header("transfer-encoding") is None
        assert client.take_until_closed() == b""


def test_http_1_0_stream(strict):
    """The old version knows no chunks: the end of the connection ends the body."""
    body = b'{"model":"m","messages":[],"stream":true}'
    with RawClient(strict.address) as client:
        answer = client.ask(post(body=body).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.status == 200
        assert answer.header("transfer-encoding") is None
        assert answer.body.endswith(b"data: [DONE]\n\n")


def test_head_has_no_body(strict):
    with RawClient(strict.address) as client:
        get = client.ask(HEALTH)
        head = client.ask(request("HEAD", "/healthz"), "HEAD")
        assert (get.status, head.status) == (200, 200)
        assert head.header("content-length") == get.header("content-length")
        assert client.ask(HEALTH).status == 200


def test_wrong_methods(strict):
    with RawClient(strict.address) as client:
        for method, path in [("GET", "/v1/chat/completions"), ("DELETE", "/v1/models"),
                             ("POST", "/metrics")]:
            answer = client.ask(request(method, path, [AUTH]))
            assert answer.status == 405, (method, path)
        assert client.ask(request("GET", "/nothing/here", [AUTH])).status == 404


# --- clients that half close, or go -----------------------------------------------------------------


def test_half_closed_client_gets_its_answer(strict):
    with RawClient(strict.address) as client:
        client.send(CHAT)
        client.shut()
        assert client.read_answer().status == 200
        assert client.take_until_closed() == b""


@pytest.mark.parametrize("stream", [False, True])
def test_half_closed_client_gets_a_late_answer(strict, stream):
    """Late enough that the gateway has asked, by an interim answer, whether anybody is there."""
    async def late(call):
        await asyncio.sleep(2.5)
        await answer_well(call)
    strict.upstream.scripts["late"] = late
    body = json.dumps({"model": "late", "messages": [], "stream": stream}).encode()
    with RawClient(strict.address, 10 * PATIENCE) as client:
        client.send(post(body=body))
        client.shut()
        answer = client.read_answer()
        assert answer.status == 200
        assert (b"[DONE]" if stream else b"Hello.") in answer.body


@pytest.mark.parametrize("how", ["reset", "close"])
def test_vanished_client_frees_its_upstream(strict, how):
    async def hang(call):
        await call.hang()
    strict.upstream.scripts["hang"] = hang
    strict.upstream.clear()
    with RawClient(strict.address) as client:
        client.send(post(body=b'{"model":"hang","messages":[]}'))
        connection = strict.upstream.wait_for_requests(1)[0].connection
        if how == "reset":
            client.vanish()
        else:
            client.socket.close()
    assert connection.closed.wait(10 * PATIENCE)
    with RawClient(strict.address) as client:
        assert client.ask(CHAT).status == 200


def test_request_cut_by_its_client(strict):
    """Cut anywhere, nothing incomplete goes upstream."""
    strict.upstream.clear()
    for at in range(1, len(CHAT), 5):
        with RawClient(strict.address) as client:
            client.send(CHAT[:at])
            client.shut()
            client.take_until_closed()
    assert not strict.upstream.requests


def test_unix_socket(start_gateway, upstream, tmp_path):
    path = str(tmp_path / "gateway.sock")
    gateway = start_gateway(over(upstream.base_url))
    gateway.stop()
    gateway.configure({"listen": [gateway.settings["listen"], f"unix:{path}"]})
    gateway.start()
    with RawClient(path) as client:
        assert client.ask(CHAT).status == 200


# --- heads of the provider --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 8000, 16500, 30000])
@pytest.mark.parametrize("step", [1000, 100000])
def test_large_head_of_the_provider(gateway, upstream, size, step):
    """Whole or in pieces, its fields arrive, before and behind the long one."""
    async def wordy(call):
        head = (b"HTTP/1.1 200 OK\r\nX-First: 1\r\nX-Long: " + b"x" * size +
                b"\r\nContent-Length: 2\r\nX-Last: 2\r\n\r\n{}")
        for at in range(0, len(head), step):
            await call.send(head[at:at + step])
            await asyncio.sleep(0)
    upstream.default = wordy
    with RawClient(gateway.address) as client:
        for _ in range(2):
            answer = client.ask(CHAT)
            assert answer.status == 200
            assert [answer.header(name) for name in ("x-first", "x-last")] == ["1", "2"]
            assert len(answer.header("x-long")) == size
            assert answer.body == b"{}"


def test_head_of_the_provider_beyond_its_limit(gateway, upstream):
    async def endless_head(call):
        await call.send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n")
    upstream.default = endless_head
    with RawClient(gateway.address) as client:
        assert client.ask(CHAT).status == 502
