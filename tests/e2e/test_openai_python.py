"""OpenAI's own Python client, with nothing changed but its base URL."""

import asyncio
import base64
import struct
import time

import httpx
import openai
import pytest

from conftest import over
from gateway import KEY, LIMITED_KEY, PATIENCE
from upstream import answer_well, delta

HELLO = [{"role": "user", "content": "Hello, gateway!"}]  # 15 bytes: 4 tokens of the mock
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a town.",
    "parameters": {"type": "object", "required": ["town"], "properties": {
        "town": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}}}}}


def client_of(gateway, key=KEY, **more):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0,
                         timeout=30 * PATIENCE, **more)


@pytest.fixture
def client(mocked):
    with client_of(mocked) as client:
        yield client


# --- answers ----------------------------------------------------------------------------------------


def test_chat(client):
    answer = client.chat.completions.create(model="mock-tokens-1000-500", messages=HELLO)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 500)


def test_chat_echoes_every_script(client):
    text = 'Grüße, "世界" 🌍 \\ \u2028 \x7f \t\n'
    answer = client.chat.completions.create(model="mock-echo",
                                            messages=[{"role": "user", "content": text}])
    assert answer.choices[0].message.content == text


def test_same_request_same_answer(client):
    answers = {client.chat.completions.create(model="mock-ok", messages=HELLO)
               .choices[0].message.content for _ in range(3)}
    assert len(answers) == 1


def test_stream_brings_the_same_text(client):
    whole = client.chat.completions.create(model="mock-ok", messages=HELLO)
    chunks = list(client.chat.completions.create(model="mock-ok", messages=HELLO, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(chunks) > 2
    assert all(c.usage is None for c in chunks)


def test_stream_with_usage(client):
    chunks = list(client.chat.completions.create(
        model="mock-stream-5x1ms+tokens-70-5", messages=HELLO, stream=True,
        stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (70, 5)


def test_stream_helper(client):
    with client.chat.completions.stream(model="mock-ok", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content


def test_chunks_come_as_they_are_made(client):
    """20 chunks with 20 ms between them cannot come at once when nothing holds them back."""
    times = []
    for chunk in client.chat.completions.create(model="mock-stream-20x20ms", messages=HELLO,
                                                stream=True):
        if chunk.choices[0].delta.content:
            times.append(time.monotonic())
    assert len(times) == 20
    assert times[-1] - times[0] >= 0.3
    assert times[9] - times[0] < (times[-1] - times[0]) * 0.9


def test_stream_in_small_pieces_with_comments(client):
    whole = client.chat.completions.create(model="mock-ok+noise+drip-7x1us+id-x", messages=HELLO)
    chunks = client.chat.completions.create(model="mock-ok+noise+drip-7x1us+id-x", messages=HELLO,
                                            stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content


def test_large_answer(client):
    answer = client.chat.completions.create(model="mock-size-3m", messages=HELLO)
    assert len(answer.choices[0].message.content) == 3 << 20
    chunks = client.chat.completions.create(model="mock-size-3m", messages=HELLO, stream=True)
    assert sum(len(c.choices[0].delta.content or "") for c in chunks) == 3 << 20


def test_large_request(client):
    text = "abc " * 500_000
    answer = client.chat.completions.create(model="mock-echo",
                                            messages=[{"role": "user", "content": text}])
    assert answer.choices[0].message.content == text


def test_tools(client):
    answer = client.chat.completions.create(model="mock-tool", messages=HELLO, tools=[WEATHER])
    call, = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    again = client.chat.completions.create(model="mock-ok", tools=[WEATHER], messages=[
        *HELLO, answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}])
    assert again.choices[0].finish_reason == "stop"


def test_parallel_tools_streamed(client):
    with client.chat.completions.stream(model="mock-tool-3", messages=HELLO,
                                        tools=[WEATHER]) as stream:
        message = stream.get_final_completion().choices[0].message
    whole = client.chat.completions.create(model="mock-tool-3", messages=HELLO, tools=[WEATHER])
    calls = [(c.function.name, c.function.arguments) for c in message.tool_calls]
    assert len(calls) == 3
    assert calls == [(c.function.name, c.function.arguments)
                     for c in whole.choices[0].message.tool_calls]


def test_several_choices(client):
    answer = client.chat.completions.create(model="mock-ok", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_embeddings_float_and_base64(client):
    """Asked for nothing, the client asks for Base64 and decodes it by itself."""
    kinds = {kind: client.embeddings.create(model="mock-ok", input=["one", "two"], dimensions=64,
                                            encoding_format=kind)
             for kind in ("float", "base64")}
    usual = client.embeddings.create(model="mock-ok", input=["one", "two"], dimensions=64)
    for i in range(2):
        floats = kinds["float"].data[i].embedding
        raw = base64.b64decode(kinds["base64"].data[i].embedding)
        assert len(floats) == 64
        assert struct.unpack("<64f", raw) == pytest.approx(floats, abs=1e-6)
        assert usual.data[i].embedding == pytest.approx(floats, abs=1e-6)
    assert kinds["float"].usage.prompt_tokens == 2


def test_legacy_completions(client):
    answer = client.completions.create(model="mock-ok", prompt="Once upon a time")
    assert answer.object == "text_completion"
    chunks = client.completions.create(model="mock-ok", prompt="Once upon a time", stream=True)
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text != ""


def test_models(client, mocked):
    names = [model.id for model in client.models.list()]
    assert "small" in names
    assert client.models.retrieve("small").id == "small"
    with client_of(mocked, LIMITED_KEY) as limited:
        assert [model.id for model in limited.models.list()] == ["small"]
        with pytest.raises(openai.NotFoundError):
            limited.models.retrieve("two")


def test_model_with_odd_name(start_gateway, upstream):
    """Clients write the '/' of a name as %2F."""
    names = ["org/small", "a+b", "a%b", "ü:1@x"]
    gateway = start_gateway(over(upstream.base_url, models={name: "house/m" for name in names}))
    with client_of(gateway) as client:
        assert sorted(model.id for model in client.models.list()) == sorted(names)
        for name in names:
            assert client.models.retrieve(name).id == name
            assert client.chat.completions.create(model=name, messages=HELLO).choices
        for name in ("org/smal", "org", "a%2Fb"):
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve(name)


def test_second_target_answers(client):
    raw = client.chat.completions.with_raw_response.create(model="two", messages=HELLO)
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-penstock-target"] == "house/mock-ok"
    assert raw.headers["x-penstock-attempts"] == "2"
    assert raw.headers["x-penstock-fallback"].startswith("house/mock-status-500: ")


def test_with_raw_response(client):
    raw = client.chat.completions.with_raw_response.create(model="mock-ok", messages=HELLO)
    assert raw.headers["x-penstock-target"] == "house/mock-ok"
    assert raw.parse()._request_id == raw.headers["x-request-id"]


# --- refusals ---------------------------------------------------------------------------------------


def refused(kind, status, code, client, **request):
    with pytest.raises(kind) as caught:
        answer = client.chat.completions.create(**{"messages": HELLO, **request})
        if request.get("stream"):
            list(answer)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_key(mocked, stream):
    with client_of(mocked, "pk-nobody-knows-this-key") as client:
        refused(openai.AuthenticationError, 401, "invalid_api_key", client, model="small",
                stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model(client, stream):
    error = refused(openai.NotFoundError, 404, "model_not_found", client, model="gpt-99",
                    stream=stream)
    assert "gpt-99" in error.message


@pytest.mark.parametrize("stream", [False, True])
def test_forbidden_model(mocked, stream):
    with client_of(mocked, LIMITED_KEY) as client:
        error = refused(openai.PermissionDeniedError, 403, "model_not_allowed", client,
                        model="mock-ok", stream=stream)
        assert "mock-ok" in error.message


def test_bad_request(client):
    refused(openai.BadRequestError, 400, "invalid_request", client, model="small", messages="no")
    refused(openai.BadRequestError, 400, "invalid_request", client, model="small",
            extra_body={"stream": "yes"})


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":"small",}', b"[1,2]", b'"x"', b"\xff\xfe",
                                  b'{"model":"small","messages":[]} x', b"[" * 100_000])
def test_bad_json(mocked, body):
    answer = mocked.ask("/v1/chat/completions", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_limit_of_the_provider(client):
    error = refused(openai.RateLimitError, 429, "rate_limit_exceeded", client,
                    model="mock-status-429-7s")
    assert error.response.headers["retry-after"] == "7"


def test_failure_of_the_provider(client):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="mock-status-500", messages=HELLO)
    assert caught.value.status_code == 500


def test_refusal_of_the_provider_is_passed_on(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="mock-status-400", messages=HELLO)


@pytest.mark.parametrize("model", ["mock-status-401", "mock-status-403", "mock-reset",
                                   "mock-badjson", "mock-garbage", "mock-cut-after-3"])
def test_broken_provider(client, model):
    """None of these is the caller's fault, and none may look like it."""
    refused(openai.InternalServerError, 502, "upstream_error", client, model=model)


def test_hanging_provider(client):
    start = time.monotonic()
    error = refused(openai.InternalServerError, 504, "upstream_timeout", client,
                    model="mock-hang", extra_headers={"x-penstock-timeout": "300ms"})
    assert "house/mock-hang" in error.message
    assert 0.25 < time.monotonic() - start < 5 * PATIENCE


def test_stalled_answer(client):
    refused(openai.InternalServerError, 504, "upstream_timeout", client,
            model="mock-stall-after-3", extra_headers={"x-penstock-timeout": "300ms"})


@pytest.mark.parametrize("model,code", [("mock-cut-after-3", "upstream_error"),
                                        ("mock-stall-after-3", "upstream_timeout")])
def test_stream_that_dies_is_not_taken_for_whole(client, model, code):
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(
                model=model, messages=HELLO, stream=True,
                extra_headers={"x-penstock-timeout": "500ms"}):
            chunks.append(chunk)
    assert sum(bool(c.choices[0].delta.content) for c in chunks) == 3
    assert caught.value.code == code


def test_error_event_of_the_provider_is_passed_on(client):
    chunks = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(model="mock-error-after-2", messages=HELLO,
                                                    stream=True):
            chunks.append(chunk)
    assert sum(bool(c.choices[0].delta.content) for c in chunks) == 2


def test_retries_of_the_client_meet_a_provider_that_recovers(mocked):
    with client_of(mocked).with_options(max_retries=3) as client:
        answer = client.chat.completions.create(
            model=f"mock-fail-2-then-ok+id-{time.time_ns()}", messages=HELLO)
    assert answer.choices[0].message.content


# --- going away -------------------------------------------------------------------------------------


async def endless(call):
    await call.begin_stream()
    while not call.connection.closed.is_set():
        await call.event(delta("more "))
        await asyncio.sleep(0.01)


def test_abort_of_a_stream_closes_the_upstream(gateway, upstream):
    upstream.default = endless
    with client_of(gateway) as client:
        stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        for _, chunk in zip(range(3), stream):
            assert chunk.choices[0].delta.content == "more "
        start = time.monotonic()
        stream.close()
        assert upstream.connections[0].closed.wait(10)
        assert time.monotonic() - start < 1 * PATIENCE
        record = gateway.record(stream.response.headers["x-request-id"])
        assert record["error"] == "client_gone"
        upstream.default = answer_well
        assert client.chat.completions.create(model="m", messages=HELLO).choices


def test_timeout_of_the_client_closes_the_upstream(gateway, upstream):
    async def hang(call):
        await call.hang()
    upstream.default = hang
    with client_of(gateway).with_options(timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="m", messages=HELLO)
    upstream.wait_for_requests(1)
    assert upstream.connections[0].closed.wait(10 * PATIENCE)


# --- many at once -----------------------------------------------------------------------------------


def test_fifty_calls_at_once(mocked):
    async def one(client, i):
        text = f"call {i} " * (i + 1)
        messages = [{"role": "user", "content": text}]
        if i % 2:
            answer = await client.chat.completions.create(model="mock-echo+slow-20ms",
                                                          messages=messages)
            return text, answer.choices[0].message.content
        stream = await client.chat.completions.create(model="mock-echo+stream-9x5ms",
                                                      messages=messages, stream=True)
        return text, "".join([c.choices[0].delta.content or "" async for c in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{mocked.url}/v1", api_key=KEY, max_retries=0,
                                      timeout=30 * PATIENCE) as client:
            return await asyncio.gather(*(one(client, i) for i in range(50)))

    for asked, answered in asyncio.run(all_of_them()):
        assert asked == answered


def test_one_connection_for_many_calls(start_gateway, mock):
    house = {"dialect": "openai", "base_url": mock.base_url}
    gateway = start_gateway(providers={"house": house}, workers=1)
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}) as client:
        for _ in range(20):
            client.post(f"{gateway.url}/v1/chat/completions", timeout=30 * PATIENCE,
                        json={"model": "house/mock-ok", "messages": HELLO}).raise_for_status()
    assert gateway.metric("upstream_connections_opened_total") == 1
    assert gateway.metric("upstream_connections_reused_total") == 19
