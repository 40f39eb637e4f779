"""What callers and providers learn of each other, what is written down, and what never is."""

import json
import re
import time

import pytest

from conftest import over
from gateway import ADMIN_KEY, KEY, LIMITED_KEY, PROVIDER_KEY, free_port
from upstream import completion
from wire import RawClient, request

AUTH = ("Authorization", f"Bearer {KEY}")
PROMPT = "prompt-canary-7731"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": PROMPT}]}).encode()

# RFC 9110, 7.6.1, and those that old software still treats so.
HOP_BY_HOP = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
              "proxy-authorization", "proxy-authenticate"]


def chat(fields=(), body=BODY, key=AUTH):
    return request("POST", "/v1/chat/completions", [key, *fields], body)


def ask(gateway, *arguments, **keywords):
    with RawClient(gateway.address) as client:
        return client.ask(chat(*arguments, **keywords))


# --- towards the provider ---------------------------------------------------------------------------

# What must survive: fields that we never heard of, odd blanks, the order, escapes, numbers as they
# were written, and a key that comes twice at a depth where nothing is read.
BODIES = [
    b'{"messages":[],"model":"m"}',
    b' \t{ "model" : "m" ,\r\n\t"messages" : [ ] } \n',
    b'{"z":1,"messages":[{"role":"user","content":"\\u00e9\\ud83c\\udf0d\\/ \xc3\xa9"}],'
    b'"model":"m","a":{"model":"not this","n":[1.0,1e5,-0,12345678901234567890,0.10000000000000001],'
    b'"twice":1,"twice":2}}',
    b'{"model":"m","messages":[],"stream":false,"unknown":{"deep":[[[[null]]]]},"x":true}',
    b'{"messages":[{"content":"\\"model\\":\\"z\\"","role":"user"}],"model":"\\u006d"}',
]


@pytest.mark.parametrize("body", BODIES)
def test_body_reaches_the_provider_byte_by_byte(gateway, upstream, body):
    assert ask(gateway, body=body).status == 200
    assert upstream.requests[0].body == body


@pytest.mark.parametrize("body", BODIES)
def test_only_the_model_is_changed(start_gateway, upstream, body):
    gateway = start_gateway(over(upstream.base_url, models={"m": 'house/org/"other"'}))
    assert ask(gateway, body=body).status == 200
    found = re.search(rb'"model"\s*:\s*("m"|"\\u006d")', body)
    expected = body[:found.start(1)] + b'"org/\\"other\\""' + body[found.end(1):]
    assert upstream.requests[0].body == expected


def test_large_body_reaches_the_provider_byte_by_byte(gateway, upstream):
    text = "".join(chr(0x20 + i * 7 % 0x2000) for i in range(300_000)).replace("\ud800", "")
    body = json.dumps({"x": text, "model": "m", "messages": []}, ensure_ascii=False).encode()
    with RawClient(gateway.address) as client:
        client.send_slowly(chat(body=body), 9973)
        assert client.read_answer().status == 200
    assert upstream.requests[0].body == body


def test_route_bounds_the_answer(start_gateway, upstream):
    gateway = start_gateway(over(upstream.base_url, routes={"short": {"max_tokens": 400}}))
    route = [("x-penstock-route", "short")]
    assert ask(gateway, route).status == 200
    assert upstream.requests[0].json["max_tokens"] == 400
    assert ask(gateway, route, BODY[:-1] + b', "max_tokens":  9999 }').status == 200
    assert upstream.requests[1].body == BODY[:-1] + b', "max_tokens":  400 }'
    small = BODY[:-1] + b', "max_tokens":  7 }'
    assert ask(gateway, route, small).status == 200
    assert upstream.requests[2].body == small
    assert ask(gateway, [("x-penstock-route", "nowhere")]).status == 400


def test_provider_gets_its_own_key_and_nothing_of_the_caller(gateway, upstream):
    secrets = [("Cookie", "session=cookie-canary"), ("x-api-key", "other-canary"),
               ("x-goog-api-key", "other-canary"), ("x-forwarded-for", "203.0.113.77"),
               ("x-penstock-user", "user-canary"), ("Proxy-Authorization", "Basic canary"),
               ("OpenAI-Organization", "org-canary"), ("Origin", "http://canary.example")]
    assert ask(gateway, secrets).status == 200
    got, = upstream.requests
    assert got.header("authorization") == f"Bearer {PROVIDER_KEY}"
    text = got.raw.decode("latin-1").replace(PROMPT, "")
    assert "canary" not in text.replace(PROVIDER_KEY, "")
    assert KEY not in text and "203.0.113.77" not in text


@pytest.mark.parametrize("place", ["x-api-key", "x-goog-api-key", "query", "bearer"])
def test_key_in_every_place(gateway, upstream, place):
    """Wherever it stands, it opens the door and goes no further."""
    target = "/v1/chat/completions" + (f"?a=1&key={KEY}" if place == "query" else "")
    fields = {"query": [], "bearer": [("AUTHORIZATION", f"bearer {KEY}")]}.get(place, [(place, KEY)])
    with RawClient(gateway.address) as client:
        answer = client.ask(request("POST", target, fields, BODY))
    assert answer.status == 200
    assert upstream.requests[0].target == "/v1/chat/completions"
    assert KEY.encode() not in upstream.requests[0].raw
    assert KEY not in json.dumps(gateway.record(answer.header("x-request-id")))


def test_hop_by_hop_fields_end_here(gateway, upstream):
    fields = [(name, "canary") for name in HOP_BY_HOP if name not in ("connection", "upgrade")]
    fields += [("Connection", "keep-alive, x-mine"), ("x-mine", "canary"), ("Upgrade", "h2c")]
    assert ask(gateway, fields).status == 200
    got, = upstream.requests
    assert b": canary\r\n" not in got.raw
    assert got.header("upgrade") is None
    assert got.header("host") == f"localhost:{upstream.port}"
    assert got.header("content-length") == str(len(BODY))


def test_what_a_provider_may_know(gateway, upstream):
    fields = [("Accept", "application/json"), ("User-Agent", "agent/1"), ("OpenAI-Beta", "x=1"),
              ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    assert ask(gateway, fields).status == 200
    for name, value in fields:
        assert upstream.requests[0].header(name) == value


# --- towards the caller -----------------------------------------------------------------------------


async def talkative(call):
    await call.reply(completion(), fields=[
        ("Set-Cookie", "a=cookie-canary"), ("Set-Cookie", "b=cookie-canary"),
        ("Strict-Transport-Security", "max-age=1"), ("Alt-Svc", 'h3=":443"'),
        ("x-request-id", "theirs"), ("x-penstock-target", "lie"), ("Server", "theirs"),
        ("Connection", "x-mine"), ("x-mine", "canary"), ("Keep-Alive", "timeout=5"),
        ("x-ratelimit-remaining-requests", "41"), ("openai-processing-ms", "12")])


def test_caller_gets_nothing_that_is_not_its(gateway, upstream):
    upstream.default = talkative
    answer = ask(gateway)
    assert answer.status == 200
    names = [name.lower() for name, _ in answer.fields]
    assert not set(names) & {"set-cookie", "strict-transport-security", "alt-svc", "x-mine"}
    assert answer.header("x-penstock-target") == "house/m"
    assert re.fullmatch("[0-9a-f]{32}", answer.header("x-request-id"))
    assert answer.header("server") != "theirs"
    assert answer.header("x-ratelimit-remaining-requests") == "41"
    assert answer.header("openai-processing-ms") == "12"


def test_answer_is_the_providers_byte_by_byte(gateway, upstream):
    body = b' {"choices" : [ ],\n "unknown":1.0, "id" : "\\u0041" }\n'

    async def odd(call):
        await call.reply(body, content_type="application/json; charset=utf-8")
    upstream.default = odd
    answer = ask(gateway)
    assert answer.body == body
    assert answer.header("content-type") == "application/json; charset=utf-8"


def test_stream_is_the_providers_byte_by_byte(gateway, upstream):
    pieces = [b": hello\n\ndata: {\"a\"", b":1}\n", b"\nevent: x\r\ndata: \xf0\x9f", b"\x8c\x8d\r\n\r\n",
              b"data: [DONE]\n\n"]

    async def odd(call):
        await call.begin_stream()
        for piece in pieces:
            await call.chunk(piece)
        await call.end_stream()
    upstream.default = odd
    answer = ask(gateway, body=BODY[:-1] + b',"stream":true}')
    assert answer.body == b"".join(pieces)
    assert answer.header("content-type") == "text/event-stream"


@pytest.mark.parametrize("stream", [False, True])
def test_fields_of_every_answer(gateway, stream):
    body = BODY[:-1] + (b',"stream":true}' if stream else b"}")
    answer = ask(gateway, body=body)
    assert answer.status == 200
    assert answer.header("x-penstock-target") == "house/m"
    assert answer.header("x-penstock-reason")
    assert answer.header("x-penstock-attempts") == "1"
    assert answer.header("x-penstock-cache") == "off"
    assert answer.header("x-penstock-fallback") is None
    assert "no-store" in answer.header("cache-control")
    assert answer.header("date")


def test_request_ids_are_unique_and_ordered(gateway):
    with RawClient(gateway.address) as client:
        ids = []
        for _ in range(50):
            ids.append(client.ask(chat()).header("x-request-id"))
            time.sleep(0.001)  # they are ordered by the millisecond
    assert len(set(ids)) == 50
    assert ids == sorted(ids)
    refused = ask(gateway, key=("Authorization", "Bearer nobody-has-this-key"))
    assert refused.status == 401
    assert re.fullmatch("[0-9a-f]{32}", refused.header("x-request-id"))


# --- what is written down ---------------------------------------------------------------------------

WORDS = {"id", "time", "organisation", "team", "project", "user", "key", "route", "tags", "dialect",
         "model", "target", "reason", "attempts", "stream", "status", "error", "cache", "guard",
         "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens",
         "reasoning_tokens", "ms_total", "ms_overhead"}


def test_record_of_a_call(start_gateway, upstream):
    gateway = start_gateway(over(
        upstream.base_url, routes={"search": {"timeout": "20s"}},
        organisations={"acme": {"teams": {"web": {"users": {"ana": {}}}}}},
        keys=[{"name": "web-dev", "key": KEY, "team": "acme/web", "user": "ana",
               "route": "search"}]))
    answer = ask(gateway, [("x-penstock-project", "p1"), ("x-penstock-tags", "a=1,b=2")])
    record = gateway.record(answer.header("x-request-id"))
    assert WORDS <= set(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record["time"])
    expected = {"organisation": "acme", "team": "web", "user": "ana", "project": "p1",
                "key": "web-dev", "route": "search", "dialect": "openai", "model": "m",
                "target": "house/m", "stream": False, "status": 200, "error": None,
                "cache": "off", "guard": [], "input_tokens": 7, "output_tokens": 2}
    assert {name: record[name] for name in expected} == expected
    assert record["tags"] in ("a=1,b=2", {"a": "1", "b": "2"})
    attempt, = record["attempts"]
    assert (attempt["target"], attempt["outcome"]) == ("house/m", "ok")
    assert 0 < attempt["ms"] <= record["ms_total"]
    assert 0 <= record["ms_overhead"] <= record["ms_total"]
    named = ask(gateway, [("x-penstock-user", "bob")])
    assert gateway.record(named.header("x-request-id"))["user"] == "bob"


def test_record_of_a_stream(gateway, upstream):
    async def counted(call):
        await call.begin_stream()
        await call.event({"choices": [], "usage": {
            "prompt_tokens": 11, "completion_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 4}}})
        await call.event("[DONE]")
        await call.end_stream()
    upstream.default = counted
    answer = ask(gateway, body=BODY[:-1] + b',"stream":true}')
    record = gateway.record(answer.header("x-request-id"))
    assert record["stream"] is True
    assert [record[name + "_tokens"] for name in ("input", "output", "cached", "reasoning")] == \
        [11, 22, 3, 4]
    assert 0 <= record["ms_first_token"] <= record["ms_total"]


def test_record_of_a_stream_with_a_large_body(gateway):
    """Its body is given back before the stream ends, and the record still tells the model."""
    body = json.dumps({"model": "m" * 200, "stream": True, "messages": ["x" * 100_000]}).encode()
    with RawClient(gateway.address) as client:
        client.send_slowly(chat(body=body), 9000)
        answer = client.read_answer()
    assert gateway.record(answer.header("x-request-id"))["model"] == "m" * 200


def test_record_of_refusals(start_gateway, upstream):
    gateway = start_gateway(over(upstream.base_url, keys=[
        {"name": "caller", "key": KEY}, {"name": "limited", "key": LIMITED_KEY, "models": ["x"]}]))
    limited = ("Authorization", f"Bearer {LIMITED_KEY}")
    for fields, status, error, key in [
            ({"key": ("x", "y")}, 401, "invalid_api_key", None),
            ({"key": limited}, 403, "model_not_allowed", "limited"),
            ({"body": b"{"}, 400, "invalid_json", "caller")]:
        answer = ask(gateway, **fields)
        assert answer.status == status
        record = gateway.record(answer.header("x-request-id"))
        assert (record["status"], record["error"], record["key"]) == (status, error, key)
        assert record["attempts"] == [] and record["target"] is None
    assert not upstream.requests


def test_record_of_a_second_attempt(start_gateway, upstream):
    async def fail(call):
        await call.reply({"error": {"message": "no"}}, "503 No")
    upstream.scripts["a"] = fail
    gateway = start_gateway(over(upstream.base_url, models={"m": {"targets": ["house/a", "house/b"]}}))
    answer = ask(gateway)
    assert answer.header("x-penstock-attempts") == "2"
    record = gateway.record(answer.header("x-request-id"))
    assert [(a["target"], a["outcome"]) for a in record["attempts"]] == \
        [("house/a", "upstream_error"), ("house/b", "ok")]
    assert record["target"] == "house/b"


def test_one_line_a_call_whatever_callers_write(gateway):
    odd = '"} \\ \x7f é 🌍 '
    ids = []
    for model in ("m\nm", odd, "m" * 256, "m" * 257, ""):
        body = json.dumps({"model": model, "messages": []}).encode()
        ids.append(ask(gateway, body=body).header("x-request-id"))
    ids.append(ask(gateway, [("x-penstock-tags", 'a="},{')]).header("x-request-id"))
    ids.append(ask(gateway, [("x-penstock-user", "é\xff")]).header("x-request-id"))
    for i in ids:
        gateway.record(i)
    lines = gateway.log_lines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(ids)


def test_no_secret_is_written_anywhere(gateway, upstream):
    async def leak(call):
        await call.reply(json.dumps({"error": {"message": f"bad key {PROVIDER_KEY}"}}).encode(),
                         "401 No")
    upstream.scripts["leak"] = leak
    wrong = "pk-wrong-canary-51234567"
    leaked = ask(gateway, body=b'{"model":"leak","messages":[]}')
    assert leaked.status == 502
    assert PROVIDER_KEY.encode() not in leaked.body
    last = [ask(gateway), ask(gateway, key=("x-api-key", wrong)),
            ask(gateway, body=b'{"model":"m","messages":"' + PROMPT.encode() + b'"}')]
    with RawClient(gateway.address) as client:
        client.ask(request("POST", f"/v1/chat/completions?key={wrong}", [], BODY))
        client.ask(request("GET", f"/v1/models/x?key={KEY}", []))
        client.ask(request("GET", f"/nothing?key={KEY}", []))
    gateway.admin("GET", "/admin/v1/status", key=wrong)
    status = gateway.admin("GET", "/admin/v1/status").text
    metrics = gateway.ask("/metrics").text
    gateway.record(last[-1].header("x-request-id"))
    gateway.stop()
    written = status + metrics + gateway.log_file.read_text() + gateway.out + gateway.err
    for secret in (KEY, PROVIDER_KEY, ADMIN_KEY, wrong, PROMPT):
        assert secret not in written


# --- operators --------------------------------------------------------------------------------------


def test_health(gateway):
    assert gateway.ask("/healthz", key=None).json()["status"] == "ok"
    assert gateway.ask("/readyz", key=None).json()["status"] == "ready"


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*"'
                    r'(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*")*\})? (\S+)')


def test_metrics_are_prometheus_text(mocked):
    mocked.chat("mock-ok")
    mocked.chat("mock-ok", body={"stream": True})
    mocked.chat("mock-status-500")
    answer = mocked.ask("/metrics", key=None)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.endswith("\n")
    types, seen, last = {}, set(), {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram")
            types[name] = kind
            continue
        if line.startswith("# HELP "):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        family = re.sub("_(bucket|sum|count)$", "", name)
        assert types.get(name) in ("counter", "gauge") or types.get(family) == "histogram", line
        assert (name, labels) not in seen
        seen.add((name, labels))
        assert float(value) >= 0
        if name.endswith("_bucket"):  # buckets count up, to their count
            series = re.sub(r',?le="[^"]*"', "", labels)
            assert float(value) >= last.get((family, series), 0)
            last[family, series] = float(value)
            if 'le="+Inf"' in labels:
                last.pop((family, series))
    assert types["penstock_request_seconds"] == "histogram"
    assert {"read", "decide", "send", "wait", "relay", "settle"} <= {
        match for _, labels in seen if labels for match in re.findall('stage="(.*?)"', labels)}


def test_metrics_count(gateway, upstream):
    upstream.scripts["no"] = lambda call: call.reply({"error": {}}, "500 No")
    before = gateway.metrics()
    for _ in range(5):
        ask(gateway)
    ask(gateway, body=BODY.replace(b'"m"', b'"no"'))
    ask(gateway, body=BODY[:-1] + b',"stream":true}')
    after = gateway.metrics()

    def grown(name):
        return after.get("penstock_" + name, 0) - before.get("penstock_" + name, 0)
    assert grown('requests_total{endpoint="chat",status="200"}') == 6
    assert grown('requests_total{endpoint="chat",status="500"}') == 1
    assert grown("input_tokens_total") == 5 * 7
    assert grown("output_tokens_total") == 5 * 2
    assert grown("streams_total") == 1
    assert after["penstock_requests_in_flight"] <= 1  # this one itself


@pytest.mark.parametrize("method,path", [
    ("GET", "/admin/v1/status"), ("POST", "/admin/v1/reload"), ("POST", "/admin/v1/drain"),
    ("GET", "/admin/v1/keys"), ("GET", "/admin/"), ("GET", "/debug/fibers")])
def test_admin_api_is_never_open(mocked, method, path):
    for key in (KEY, ADMIN_KEY[:-1], ADMIN_KEY + "x", ADMIN_KEY.upper()):
        assert mocked.admin(method, path, key).status_code == 401
    assert mocked.ask(path, key=None).status_code == 401
    assert mocked.ask("/readyz", key=None).status_code == 200


def test_admin_key_is_no_callers_key(mocked):
    assert mocked.chat("mock-ok", key=ADMIN_KEY).status_code == 401


def test_admin_key_is_made_where_there_is_none(start_gateway, upstream):
    gateway = start_gateway(over(upstream.base_url, admin=None))
    key = re.search(r"^ {4}(pa-[0-9a-f]+)$", gateway.err, re.M)[1]
    assert gateway.admin("GET", "/admin/v1/status", key).status_code == 200
    kept = gateway.folder / "penstock.admin-key"
    assert kept.stat().st_mode & 0o777 == 0o600
    gateway.stop()
    gateway.start()
    assert gateway.admin("GET", "/admin/v1/status", key).status_code == 200
    assert gateway.err.count(key) == 1  # shown once


def test_operators_on_an_address_of_their_own(start_gateway, upstream):
    port = free_port()
    gateway = start_gateway(over(upstream.base_url))
    gateway.stop()
    gateway.configure({"admin": {"key": ADMIN_KEY, "listen": f"127.0.0.1:{port}"}})
    gateway.launch()
    gateway.wait_for_answer(f"http://127.0.0.1:{port}/readyz")
    assert gateway.chat("m").status_code == 200
    for path in ("/metrics", "/admin/v1/status"):
        assert gateway.admin("GET", path).status_code in (401, 404)
    own, gateway.port = gateway.port, port
    assert gateway.admin("GET", "/metrics").status_code == 200
    assert gateway.admin("GET", "/admin/v1/status").status_code == 200
    gateway.port = own

