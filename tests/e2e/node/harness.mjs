// Checks by name; one line of JSON on standard output tells how each ended.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The package lies in .deps/node, which is no parent of this file.
const packages = createRequire(`${process.env.NODE_PACKAGES}/package.json`);
const { default: OpenAI, APIError } = await import(pathToFileURL(packages.resolve("openai")));

export const { KEY, LIMITED_KEY } = process.env;

export const clientOf = (apiKey = KEY) =>
    new OpenAI({ apiKey, baseURL: process.env.BASE_URL, maxRetries: 0, timeout: 60_000 });

export const refused = async (status, code, call) => {
    try {
        await call();
    } catch (error) {
        assert.ok(error instanceof APIError, String(error));
        assert.equal(error.status, status);
        if (code) assert.equal(error.code, code);
        assert.ok(error.requestID);
        return error;
    }
    return assert.fail("it was not refused");
};

const checks = [];
export const check = (name, body) => checks.push({ name, body });

export const run = async () => {
    for (const { name, body } of checks) {
        let problem = null;
        try {
            await body();
        } catch (error) {
            problem = error.stack ?? String(error);
        }
        console.log(JSON.stringify({ name, problem }));
    }
};
