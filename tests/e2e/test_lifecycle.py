"""Start, drain, stop, crash, upgrade; and the commands around them."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time

import pytest
import yaml

from conftest import over
from gateway import ADMIN_KEY, KEY, PATIENCE, Process, children, is_alive, run, wait_for
from load import Load
from upstream import delta
from wire import Closed, RawClient, request

STREAM = request("POST", "/v1/chat/completions", [("Authorization", f"Bearer {KEY}")],
                 b'{"model":"long","messages":[],"stream":true}')
HEALTH = request("GET", "/healthz")


class Paused:
    """A script whose stream waits for go_on."""

    def __init__(self, upstream):
        self.go_on = threading.Event()
        upstream.scripts["long"] = self

    async def __call__(self, call):
        await call.begin_stream()
        await call.event(delta("a"))
        while not self.go_on.is_set() and not call.connection.closed.is_set():
            await asyncio.sleep(0.005)
        await call.event("[DONE]")
        await call.end_stream()


def begin_stream(gateway):
    client = RawClient(gateway.address, 15 * PATIENCE)
    client.send(STREAM)
    assert client.read_head()[0] == 200
    assert b'"a"' in client.read_chunk()
    return client


def is_refused(gateway):
    try:
        RawClient(gateway.address).socket.close()
        return False
    except ConnectionRefusedError:
        return True


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["term", "command"])
def test_drain_lets_a_stream_end_well(gateway, upstream, how):
    script = Paused(upstream)
    with begin_stream(gateway) as client, RawClient(gateway.address) as idle:
        assert idle.ask(HEALTH).status == 200
        if how == "term":
            gateway.signal(signal.SIGTERM)
        else:
            done = run("drain", "-c", gateway.file)
            assert (done.returncode, done.stdout) == (0, "draining\n"), done.stderr
        wait_for(lambda: is_refused(gateway), what="the end of listening")
        assert gateway.process.poll() is None
        script.go_on.set()
        assert b"[DONE]" in client.read_chunked()
    gateway.process.wait(15 * PATIENCE)
    gateway.judge()


def test_drain_has_a_deadline(start_gateway, upstream):
    Paused(upstream)
    gateway = start_gateway(over(upstream.base_url, timeouts={"drain": "300ms"}))
    with begin_stream(gateway) as client:
        start = time.monotonic()
        gateway.signal(signal.SIGTERM)
        with pytest.raises(Closed):
            client.read_chunked()
        gateway.process.wait(15 * PATIENCE)
        assert time.monotonic() - start < 5 * PATIENCE
    gateway.judge()


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quit_ends_at_once(gateway, upstream, number):
    Paused(upstream)
    with begin_stream(gateway) as client:
        gateway.signal(number)
        with pytest.raises(Closed):
            client.read_chunked()
        gateway.process.wait(5 * PATIENCE)
    gateway.judge()


def test_second_term_changes_nothing(gateway, upstream):
    script = Paused(upstream)
    with begin_stream(gateway) as client:
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: is_refused(gateway), what="the end of listening")
        gateway.signal(signal.SIGHUP)
        script.go_on.set()
        assert b"[DONE]" in client.read_chunked()
    gateway.process.wait(15 * PATIENCE)
    gateway.judge()


def test_nothing_is_lost_by_a_drain_under_load(start_gateway, mock):
    """Until nothing listens any more, every call is answered; the last ones hear of the end."""
    gateway = start_gateway(over(mock.base_url))
    with Load(gateway, "mock-ok") as calls, Load(gateway, "mock-stream-5x2ms", stream=True) as more:
        calls.wait_for_calls(50)
        gateway.signal(signal.SIGTERM)
        gateway.process.wait(15 * PATIENCE)
    gateway.judge()
    for load in (calls, more):
        # A new connection may be reset when it was queued at the last moment; a call never is.
        assert set(load.outcomes) <= {200, "refused", "Closed", "ConnectionResetError"}
        assert load.outcomes["Closed"] + load.outcomes["ConnectionResetError"] <= 4, load.bad
    statuses = {json.loads(line)["status"] for line in gateway.log_lines()}
    assert statuses == {200}


def test_worker_ends_with_its_master(gateway):
    worker = gateway.worker
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.process.wait(5)
    wait_for(lambda: not is_alive(worker), what="the worker's end")
    gateway.process.returncode = 0  # it did what it was told
    assert wait_for(lambda: is_refused(gateway), what="the end of listening")


# --- a worker that dies -----------------------------------------------------------------------------


def kill_workers_under_load(gateway, count):
    """Only calls in flight fail; nobody is refused."""
    pauses = []
    with Load(gateway, "mock-slow-2ms", threads=3) as calls, \
         Load(gateway, "mock-ok", threads=1, fresh=True) as fresh:
        calls.wait_for_calls(20)
        for _ in range(count):
            worker = gateway.worker
            start = time.monotonic()
            os.kill(worker, signal.SIGKILL)
            with RawClient(gateway.address, 15 * PATIENCE) as client:
                for _ in range(50):  # one that was queued for the dead one is reset
                    try:
                        assert client.ask(HEALTH).status == 200
                        break
                    except Closed:
                        client.socket.close()
                        client.__init__(gateway.address, 15 * PATIENCE)
            pauses.append(time.monotonic() - start)
            wait_for(lambda w=worker: gateway.worker not in (None, w), what="a new worker")
            calls.wait_for_calls(20)
    in_flight_max = count * 3
    for load, most in ((calls, in_flight_max), (fresh, count)):
        assert load.outcomes["refused"] == 0
        assert load.outcomes.total() - load.outcomes[200] <= most, load.outcomes
    assert gateway.metric("worker_restarts_total") == count
    pauses.sort()
    return pauses


@pytest.mark.long  # depends on how loaded the machine is
def test_killed_workers(start_gateway, mock):
    gateway = start_gateway(over(mock.base_url))
    pauses = kill_workers_under_load(gateway, 10)
    assert pauses[len(pauses) // 2] < 0.1 * PATIENCE * 3, pauses


@pytest.mark.long
def test_killed_workers_100_times(start_gateway, mock):
    gateway = start_gateway(over(mock.base_url))
    pauses = kill_workers_under_load(gateway, 100)
    assert pauses[50] < 0.1, pauses


def test_killed_worker_comes_back_with_the_configuration_that_was_good(gateway):
    gateway.configure({"models": {"new": "house/new"}})
    assert run("reload", "-c", gateway.file).returncode == 0
    gateway.write("nonsense: [")
    worker = gateway.worker
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: gateway.worker not in (None, worker), what="a new worker")
    gateway.wait_for_answer(f"{gateway.url}/readyz")
    assert gateway.chat("new").status_code == 200
    assert "killed by signal 9" in gateway.err


# --- upgrade ----------------------------------------------------------------------------------------


def end_upgraded(pid):
    """The successor is nobody's child here: it is told to end, and watched."""
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_alive(pid), 20, "the successor's end")


def successor_of(gateway):
    """The new master, once the old one has ended."""
    worker = gateway.worker
    found = wait_for(lambda: [c for c in children(gateway.pid) if c != worker], what="a successor")
    return found[0]


def test_upgrade_loses_no_stream(start_gateway, upstream):
    script = Paused(upstream)
    gateway = start_gateway(over(upstream.base_url))
    with begin_stream(gateway) as client:
        gateway.signal(signal.SIGUSR2)
        successor = successor_of(gateway)
        try:
            wait_for(lambda: "upgrade: started" in gateway.err, what="the upgrade")
            # The new one answers while the old stream goes on.
            wait_for(lambda: gateway.admin("GET", "/admin/v1/status").json()["master_pid"] ==
                     successor, what="the successor")
            assert gateway.chat("m").status_code == 200
            script.go_on.set()
            assert b"[DONE]" in client.read_chunked()
            gateway.process.wait(15 * PATIENCE)
            gateway.judge()
            assert gateway.chat("m").status_code == 200
        finally:
            end_upgraded(successor)


def test_upgrade_under_load(start_gateway, mock):
    gateway = start_gateway(over(mock.base_url))
    with Load(gateway, "mock-ok", threads=2) as calls, \
         Load(gateway, "mock-ok", threads=1, fresh=True) as fresh, \
         Load(gateway, "mock-stream-10x5ms", threads=2, stream=True) as streams:
        calls.wait_for_calls(20)
        gateway.signal(signal.SIGUSR2)
        successor = successor_of(gateway)
        try:
            gateway.process.wait(30 * PATIENCE)
            calls.wait_for_calls(50)
        finally:
            for load in (calls, fresh, streams):
                load.stopping.set()
            end_upgraded(successor)
    for load in (calls, fresh, streams):
        assert load.outcomes["refused"] == 0
        assert set(load.outcomes) == {200}, (load.outcomes, load.bad)


def test_upgrade_to_a_bad_configuration_changes_nothing(gateway):
    gateway.write("nonsense: [")
    gateway.signal(signal.SIGUSR2)
    wait_for(lambda: "going on with this one" in gateway.err, what="the failure")
    assert gateway.chat("m").status_code == 200
    assert gateway.process.poll() is None


# --- start ------------------------------------------------------------------------------------------


def serve_badly(folder, text):
    (folder / "bad.yaml").write_text(text)
    return run("serve", "-c", folder / "bad.yaml")


@pytest.mark.parametrize("text,message", [
    ("listen: 127.0.0.1:0\nkeys: [{name: a, key: ''}]\n", r"bad.yaml:2:\d+: "),
    ("listen: 127.0.0.1:0\nadmin: {key: changeme}\n", r"bad.yaml:2:14: "),
    ("listen: [", r"bad.yaml:\d+:\d+: "),
    ("listen: 203.0.113.1:1\n", "203.0.113.1:1"),
    ("listen: {address: 127.0.0.1:0, tls: {certificate: none.pem, key: none.pem}}\n", "none.pem"),
])
def test_bad_start(tmp_path, text, message):
    done = serve_badly(tmp_path, text)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert done.stdout == ""


def test_taken_address(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve_badly(tmp_path, f"listen: 127.0.0.1:{port}\n")
    assert done.returncode == 1
    assert str(port) in done.stderr


def test_absent_file(tmp_path):
    for command in ("serve", "check", "reload", "status"):
        done = run(command, "-c", tmp_path / "none.yaml")
        assert done.returncode == 1
        assert "none.yaml" in done.stderr


def test_start_is_quick(gateway):
    """From nothing to ready; the figure itself is measured by the benchmark."""
    gateway.stop()
    start = time.monotonic()
    gateway.start()
    assert time.monotonic() - start < 2 * PATIENCE


def test_demo_answers_the_printed_line(tmp_path):
    try:
        socket.create_server(("127.0.0.1", 8080)).close()
    except OSError:
        pytest.skip("something else listens on 127.0.0.1:8080, where the demo wants to be")
    demo = Process(tmp_path, "demo", ["serve"], cwd=tmp_path)
    demo.launch()
    try:
        demo.wait_for_answer("http://127.0.0.1:8080/readyz")
        text = wait_for(lambda: re.search(r"^ +curl (?:.*\\\n)*.*$", demo.err, re.M), what="it")[0]
        done = subprocess.run(shlex.split(text.replace("\\\n", " ")) + ["-sS"], check=False,
                              capture_output=True, text=True, timeout=20 * PATIENCE)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["choices"][0]["message"]["content"]
    finally:
        demo.stop()


def test_systemd_is_told(tmp_path, start_gateway, upstream):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(15 * PATIENCE)
        gateway = start_gateway(over(upstream.base_url), {"NOTIFY_SOCKET": path})
        assert notify.recv(4096) == b"READY=1"
        assert run("reload", "-c", gateway.file).returncode == 0
        assert notify.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notify.recv(4096) == b"READY=1"
        gateway.signal(signal.SIGTERM)
        assert notify.recv(4096) == b"STOPPING=1"


# --- commands ---------------------------------------------------------------------------------------


def test_status(gateway):
    done = run("status", "-c", gateway.file)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert said["status"] == "ready"
    assert said["worker_pid"] == str(gateway.worker)
    assert said["master_pid"] == str(gateway.pid)
    assert said["workers"] == "2"
    environment = {**os.environ, "PENSTOCK_URL": gateway.url, "PENSTOCK_ADMIN_KEY": ADMIN_KEY}
    assert run("status", env=environment).stdout.split() == done.stdout.split()
    environment["PENSTOCK_ADMIN_KEY"] = KEY
    refused = run("status", env=environment)
    assert refused.returncode == 1 and refused.stdout == "" and "401" in refused.stderr
    gateway.stop()
    gone = run("status", "-c", gateway.file)
    assert gone.returncode == 1 and gone.stdout == "" and gone.stderr


def test_check(gateway, tmp_path):
    good = run("check", "-c", gateway.file)
    assert (good.returncode, good.stderr) == (0, "")
    bad = tmp_path / "bad.yaml"
    bad.write_text("listen: 127.0.0.1:8080\nprovidrs:\n  x: {}\nworkers: many\n")
    done = run("check", "-c", bad)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if ": warning: " not in line]
    assert re.fullmatch(re.escape(str(bad)) + r":2:1: .*providrs.*providers.*", lines[0]), lines
    assert any(line.startswith(f"{bad}:4:10: ") for line in lines)
    assert done.stdout == ""


def test_help_and_wrong_usage():
    for command in ([], ["serve"], ["check"], ["mock"], ["reload"], ["status"], ["drain"],
                    ["config"]):
        done = run(*command, "--help")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert "usage" in done.stdout.lower()
    for wrong in ([], ["nothing"], ["serve", "--nothing"], ["serve", "-c"], ["config", "nothing"],
                  ["mock", "--nothing"], ["version", "x"]):
        done = run(*wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
        assert done.stderr


def test_version():
    done = run("version")
    assert done.returncode == 0
    assert re.match(r"penstock \d+\.\d+", done.stdout)


CONTRACT = """
listen: 127.0.0.1:8080
workers: auto
access_log: stdout
store: sqlite:penstock.db
admin: {key: ${PENSTOCK_ADMIN_KEY:-}}
providers:
  openai:    {api_key: ${OPENAI_API_KEY:-}}
  anthropic: {api_key: ${ANTHROPIC_API_KEY:-}}
  house:     {dialect: openai, base_url: http://10.0.0.5:8000/v1, private: true, max_concurrent: 64, region: eu}
models:
  gpt-4o: openai/gpt-4o
  fast:
    targets: [{to: openai/gpt-4o-mini, weight: 9}, {to: anthropic/claude-haiku-4-5, weight: 1}]
    balance: weighted
    fallback: [house-llama]
  house-llama: house/llama-3.1-8b
  "claude-*": "anthropic/claude-*"
prices:
  house/llama-3.1-8b: {input: 0.05, output: 0.10}
  "house/*": free
routes:
  support-search: {model: fast, max_tokens: 400, timeout: 20s}
organisations:
  acme:
    budget: {usd: 50000, per: month}
    teams:
      search:
        limits: {requests_per_minute: 1200, tokens_per_minute: 100000, tokens_per_day: 20000000, concurrent: 50}
        budget: {usd: 2000, per: month, alert_at: [0.8], degrade_at: 0.9, hard: true}
        models: [gpt-4o, fast]
        users: {ana: {limits: {tokens_per_hour: 500000}}}
keys:
  - {name: search-dev, key: ${SEARCH_DEV_KEY}, team: acme/search, user: ana, route: support-search}
"""


def test_the_example_of_the_manual_is_valid(tmp_path):
    file = tmp_path / "example.yaml"
    file.write_text(CONTRACT)
    done = run("check", "-c", file, env={**os.environ, "SEARCH_DEV_KEY": KEY})
    assert done.returncode == 0, done.stderr


def allows(schema, value, root):
    """Whether a JSON Schema of the few words that ours is made of allows a value."""
    if "$ref" in schema:
        at = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            at = at[name.replace("~1", "/").replace("~0", "~")]
        if not allows(at, value, root):
            return False
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
             "integer": int, "number": (int, float)}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, kinds[kind]) and
                          (kind == "boolean" or not isinstance(value, bool)) for kind in wanted):
        return False
    if any(not allows(part, value, root) for part in schema.get("allOf", [])) or \
       ("anyOf" in schema and not any(allows(p, value, root) for p in schema["anyOf"])) or \
       ("oneOf" in schema and sum(allows(p, value, root) for p in schema["oneOf"]) != 1) or \
       ("enum" in schema and value not in schema["enum"]) or \
       ("const" in schema and value != schema["const"]):
        return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)):
        return False
    if isinstance(value, list):
        return all(allows(schema.get("items", {}), v, root) for v in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        return set(schema.get("required", [])) <= set(value) and all(
            allows(properties[n], v, root) if n in properties else
            rest is True or (rest is not False and allows(rest, v, root))
            for n, v in value.items())
    return True


KNOWN_WORDS = {"$schema", "$id", "$ref", "$defs", "$comment", "title", "description", "default",
               "examples", "type", "properties", "patternProperties", "additionalProperties",
               "propertyNames", "required", "items", "minItems", "maxItems", "minLength",
               "maxLength", "minimum", "maximum", "exclusiveMinimum", "multipleOf", "pattern",
               "format", "enum", "const", "anyOf", "oneOf", "allOf", "not", "writeOnly", "readOnly",
               "minProperties", "maxProperties", "uniqueItems", "deprecated"}


def check_words(schema):
    """Every word is one of JSON Schema's, and stands with a value of its type."""
    if isinstance(schema, bool):
        return
    assert set(schema) <= KNOWN_WORDS, set(schema) - KNOWN_WORDS
    for word in ("properties", "$defs", "patternProperties"):
        for part in schema.get(word, {}).values():
            check_words(part)
    for word in ("anyOf", "oneOf", "allOf"):
        assert schema.get(word, [{}])
        for part in schema.get(word, []):
            check_words(part)
    for word in ("items", "additionalProperties", "propertyNames", "not"):
        if word in schema:
            check_words(schema[word])
    if "pattern" in schema:
        re.compile(schema["pattern"])


def test_schema():
    done = run("config", "schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    check_words(schema)
    try:
        import jsonschema  # pylint: disable=import-outside-toplevel
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except ImportError:
        pass  # what check_words does is enough without it
    example = yaml.safe_load(re.sub(r"\$\{\w+(:-)?\}", KEY, CONTRACT))
    assert allows(schema, example, schema)
    for wrong in ({"lisen": "x"}, {"keys": {}}, {"workers": "many"}, {"models": {"a": 1}},
                  {"providers": {"x": {"unknown": 1}}}, {"keys": [{"name": "a"}]}):
        assert not allows(schema, wrong, schema), wrong


def test_reference_names_every_word():
    reference = run("config", "reference").stdout
    schema = json.loads(run("config", "schema").stdout)

    def words(part):
        if isinstance(part, dict):
            yield from part.get("properties", {})
            for value in part.values():
                yield from words(value)
        elif isinstance(part, list):
            for value in part:
                yield from words(value)
    missing = {word for word in words(schema) if f"`{word}`" not in reference}
    assert not missing


def test_check_takes_every_example_of_the_reference(tmp_path):
    """The blocks of the manual are what users copy."""
    blocks = re.findall(r"```yaml\n(.*?)```", run("config", "reference").stdout, re.S)
    assert len(blocks) > 10
    for block in blocks:
        assert isinstance(yaml.safe_load(re.sub(r"\$\{\w+(:-)?\}", KEY, block)), dict), block

