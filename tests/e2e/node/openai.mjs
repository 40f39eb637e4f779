// OpenAI's own Node client, with nothing changed but its base URL. Run by test_openai_node.py.
import assert from "node:assert/strict";
import { check, clientOf, LIMITED_KEY, refused, run } from "./harness.mjs";

const HELLO = [{ role: "user", content: "Hello, gateway!" }];
const WEATHER = {
    type: "function",
    function: {
        name: "get_weather",
        parameters: { type: "object", required: ["town"], properties: { town: { type: "string" } } },
    },
};
const client = clientOf();

const textOf = async (stream) => {
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    return text;
};

check("chat", async () => {
    const answer = await client.chat.completions.create({ model: "mock-tokens-1000-500", messages: HELLO });
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.equal(answer.usage.prompt_tokens, 1000);
    assert.equal(answer.usage.completion_tokens, 500);
});

check("echo of any text", async () => {
    const content = 'Grüße, "世界" 🌍 \\ \u2028 \t\n';
    const answer = await client.chat.completions.create({ model: "mock-echo", messages: [{ role: "user", content }] });
    assert.equal(answer.choices[0].message.content, content);
});

check("stream", async () => {
    const whole = await client.chat.completions.create({ model: "mock-ok", messages: HELLO });
    const stream = await client.chat.completions.create({ model: "mock-ok", messages: HELLO, stream: true });
    assert.equal(await textOf(stream), whole.choices[0].message.content);
});

check("stream with usage", async () => {
    const stream = await client.chat.completions.create({
        model: "mock-stream-5x1ms+tokens-70-5", messages: HELLO, stream: true, stream_options: { include_usage: true },
    });
    let last;
    for await (const chunk of stream) last = chunk;
    assert.equal(last.usage.prompt_tokens, 70);
    assert.equal(last.usage.completion_tokens, 5);
});

check("stream helper", async () => {
    const stream = client.chat.completions.stream({ model: "mock-ok", messages: HELLO });
    let seen = "";
    stream.on("content", (delta) => { seen += delta; });
    assert.equal(await stream.finalContent(), seen);
    assert.ok(seen.length);
});

check("tools", async () => {
    const answer = await client.chat.completions.create({ model: "mock-tool", messages: HELLO, tools: [WEATHER] });
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    assert.equal(answer.choices[0].message.tool_calls[0].function.name, "get_weather");
    JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments);
});

check("parallel tools, streamed", async () => {
    const request = { model: "mock-tool-3", messages: HELLO, tools: [WEATHER] };
    const whole = await client.chat.completions.create(request);
    const streamed = await client.chat.completions.stream(request).finalChatCompletion();
    const calls = (answer) => answer.choices[0].message.tool_calls.map((c) => [c.function.name, c.function.arguments]);
    assert.equal(calls(streamed).length, 3);
    assert.deepEqual(calls(streamed), calls(whole));
});

check("embeddings, float and Base64", async () => {
    const ask = (encoding_format) => client.embeddings.create({
        model: "mock-ok", input: ["one", "two"], dimensions: 64, ...(encoding_format && { encoding_format }),
    });
    const [floats, base64, usual] = [await ask("float"), await ask("base64"), await ask()];
    for (const i of [0, 1]) {
        const bytes = Buffer.from(base64.data[i].embedding, "base64");
        floats.data[i].embedding.forEach((value, at) => {
            assert.ok(Math.abs(value - bytes.readFloatLE(at * 4)) < 1e-6);
            assert.ok(Math.abs(value - usual.data[i].embedding[at]) < 1e-6);
        });
        assert.equal(bytes.length, 64 * 4);
    }
});

check("legacy completions", async () => {
    const request = { model: "mock-ok", prompt: "Once upon a time" };
    const whole = await client.completions.create(request);
    let text = "";
    for await (const chunk of await client.completions.create({ ...request, stream: true })) text += chunk.choices[0].text;
    assert.equal(text, whole.choices[0].text);
});

check("models", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes("small"));
    assert.equal((await client.models.retrieve("small")).id, "small");
    const limited = [];
    for await (const model of clientOf(LIMITED_KEY).models.list()) limited.push(model.id);
    assert.deepEqual(limited, ["small"]);
});

check("unknown key", () => refused(401, "invalid_api_key", () =>
    clientOf("pk-nobody-knows-this-key").chat.completions.create({ model: "small", messages: HELLO })));

check("unknown model", () => refused(404, "model_not_found", () =>
    client.chat.completions.create({ model: "gpt-99", messages: HELLO })));

check("forbidden model", () => refused(403, "model_not_allowed", () =>
    clientOf(LIMITED_KEY).chat.completions.create({ model: "mock-ok", messages: HELLO })));

check("bad request", () => refused(400, "invalid_request", () =>
    client.chat.completions.create({ model: "small", messages: "no" })));

check("limit of the provider", async () => {
    const error = await refused(429, "rate_limit_exceeded", () =>
        client.chat.completions.create({ model: "mock-status-429-7s", messages: HELLO }));
    assert.equal(error.headers.get("retry-after"), "7");
});

check("failure of the provider", () => refused(500, undefined, () =>
    client.chat.completions.create({ model: "mock-status-500", messages: HELLO })));

for (const model of ["mock-reset", "mock-badjson", "mock-cut-after-3"])
    check(`broken provider: ${model}`, () => refused(502, "upstream_error", () =>
        client.chat.completions.create({ model, messages: HELLO })));

check("hanging provider", () => refused(504, "upstream_timeout", () =>
    client.chat.completions.create({ model: "mock-hang", messages: HELLO }, { headers: { "x-penstock-timeout": "300ms" } })));

check("stream that dies is not taken for whole", async () => {
    const stream = await client.chat.completions.create({ model: "mock-cut-after-3", messages: HELLO, stream: true });
    let chunks = 0;
    await assert.rejects(async () => {
        for await (const chunk of stream) chunks += Boolean(chunk.choices[0].delta.content);
    });
    assert.equal(chunks, 3);
});

check("abort of a stream", async () => {
    const stream = await client.chat.completions.create({ model: "mock-stream-1000x10ms", messages: HELLO, stream: true });
    let chunks = 0;
    for await (const chunk of stream) {
        chunks += Boolean(chunk.choices[0].delta.content);
        if (chunks === 3) stream.controller.abort();
    }
    assert.ok(chunks < 100);
    await client.chat.completions.create({ model: "mock-ok", messages: HELLO });
});

check("fifty calls at once", async () => {
    const one = async (i) => {
        const content = `call ${i} `.repeat(i + 1);
        const messages = [{ role: "user", content }];
        const answered = i % 2
            ? (await client.chat.completions.create({ model: "mock-echo+slow-20ms", messages })).choices[0].message.content
            : await textOf(await client.chat.completions.create({ model: "mock-echo+stream-9x5ms", messages, stream: true }));
        assert.equal(answered, content);
    };
    await Promise.all(Array.from({ length: 50 }, (_, i) => one(i)));
});

await run();
