"""TLS and HTTP/2, towards callers and towards providers."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading

import h2.connection
import h2.events
import httpx
import openai
import pytest

from conftest import over
from gateway import KEY, PATIENCE, PROVIDER_KEY, free_port, run, wait_for
from upstream import Upstream, answer_well, delta
from wire import RawClient, request

AUTH = {"Authorization": f"Bearer {KEY}"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def openssl(*arguments, folder):
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)


def make_authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", 2, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", folder=folder)


def make_certificate(folder, name, authority, names, days=2):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder)
    (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
            f"{authority}.key", "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext",
            "-out", f"{name}.pem", folder=folder)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Two authorities; certificates for localhost, for another name, for a client."""
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder, "ours")
    make_authority(folder, "others")
    local = "DNS:localhost,IP:127.0.0.1"
    make_certificate(folder, "server", "ours", local)
    make_certificate(folder, "second", "ours", local)
    make_certificate(folder, "elsewhere", "ours", "DNS:elsewhere.example")
    make_certificate(folder, "foreign", "others", local)
    make_certificate(folder, "client", "ours", "DNS:client")
    return folder


def server_context(pki, name="server", client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki / f"{client_ca}.pem")
    return context


def client_context(pki, authority="ours", certificate=None):
    context = ssl.create_default_context(cafile=pki / f"{authority}.pem")
    if certificate:
        context.load_cert_chain(pki / f"{certificate}.pem", pki / f"{certificate}.key")
    return context


@pytest.fixture
def start_tls(start_gateway, upstream, pki):
    """start_tls(tls words): a gateway with an address in the clear and one with TLS."""
    def start(**tls):
        port = free_port()
        words = {"certificate": str(pki / "server.pem"), "key": str(pki / "server.key"), **tls}
        gateway = start_gateway(over(upstream.base_url))
        gateway.configure({"listen": [gateway.settings["listen"],
                                      {"address": f"127.0.0.1:{port}", "tls": words}]})
        assert run("reload", "-c", gateway.file).returncode == 0
        gateway.tls_port, gateway.tls_url = port, f"https://localhost:{port}"
        return gateway
    return start


# --- callers ----------------------------------------------------------------------------------------


def curl(gateway, pki, *arguments):
    assert shutil.which("curl")
    return subprocess.run(
        ["curl", "-sS", "--cacert", str(pki / "ours.pem"), "-w", "\n%{http_version} %{http_code}",
         "-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json",
         "-d", json.dumps(CHAT), *arguments, f"{gateway.tls_url}/v1/chat/completions"],
        check=False, capture_output=True, text=True, timeout=30 * PATIENCE)


@pytest.mark.parametrize("option,version", [("--http1.1", "1.1"), ("--http2", "2"),
                                            ("--tlsv1.3", "2"), ("--tls-max=1.2", "2")])
def test_curl(start_tls, pki, option, version):
    done = curl(start_tls(), pki, *option.split("="))
    assert done.returncode == 0, done.stderr
    body, last = done.stdout.rsplit("\n", 1)
    assert last == f"{version} 200"
    assert json.loads(body)["choices"]


def test_old_tls_is_refused(start_tls, pki):
    done = curl(start_tls(), pki, "--tlsv1.0", "--tls-max", "1.1", "--ciphers",
                "DEFAULT:@SECLEVEL=0")
    assert done.returncode == 35


def test_client_that_does_not_trust_us(start_tls, pki):
    gateway = start_tls()
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(("127.0.0.1", gateway.tls_port), tls=client_context(pki, "others"))
    with RawClient(("127.0.0.1", gateway.tls_port), tls=client_context(pki)) as client:
        assert client.ask(request("GET", "/healthz")).status == 200


def test_alpn(start_tls, pki):
    gateway = start_tls()
    for offered, chosen in [(["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"),
                            (["http/1.1"], "http/1.1"), ([], None)]:
        context = client_context(pki)
        if offered:
            context.set_alpn_protocols(offered)
        with RawClient(("127.0.0.1", gateway.tls_port), tls=context) as client:
            assert client.socket.selected_alpn_protocol() == chosen


def test_client_certificates(start_tls, pki):
    gateway = start_tls(client_ca=str(pki / "ours.pem"))
    address = ("127.0.0.1", gateway.tls_port)
    with RawClient(address, tls=client_context(pki, certificate="client")) as client:
        assert client.ask(request("GET", "/healthz")).status == 200
    for certificate in (None, "foreign"):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError, Exception)) as caught:
            with RawClient(address, tls=client_context(pki, certificate=certificate)) as client:
                client.ask(request("GET", "/healthz"))
        assert not isinstance(caught.value, TimeoutError)
    assert gateway.chat("m").status_code == 200


def test_clear_text_on_a_tls_address(start_tls, pki):
    gateway = start_tls()
    with RawClient(("127.0.0.1", gateway.tls_port)) as client:
        client.send(request("GET", "/healthz"))
        assert not client.take_until_closed().startswith(b"HTTP/1.1 200")
    assert curl(gateway, pki).returncode == 0


def test_certificate_is_read_again(start_tls, pki, tmp_path):
    for kind in ("pem", "key"):
        shutil.copy(pki / f"server.{kind}", tmp_path / f"own.{kind}")
    gateway = start_tls(certificate=str(tmp_path / "own.pem"), key=str(tmp_path / "own.key"))

    def shown():
        with RawClient(("127.0.0.1", gateway.tls_port), tls=client_context(pki)) as client:
            return dict(x[0] for x in client.socket.getpeercert()["subject"])["commonName"]
    assert shown() == "server"
    for kind in ("pem", "key"):
        shutil.copy(pki / f"second.{kind}", tmp_path / f"own.{kind}")
    assert run("reload", "-c", gateway.file).returncode == 0
    assert shown() == "second"
    (tmp_path / "own.key").write_text("nonsense")
    done = run("reload", "-c", gateway.file)
    assert done.returncode == 1
    assert "own.key" in done.stderr
    assert shown() == "second"


@pytest.mark.parametrize("http2", [False, True])
def test_sdk_over_tls(start_tls, pki, http2):
    gateway = start_tls()
    async def calls():
        http = httpx.AsyncClient(verify=client_context(pki), http2=http2)
        async with openai.AsyncOpenAI(base_url=f"{gateway.tls_url}/v1", api_key=KEY,
                                      max_retries=0, http_client=http) as client:
            answers = await asyncio.gather(*(
                client.chat.completions.create(**CHAT) for _ in range(30)))
            stream = await client.chat.completions.create(**CHAT, stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            with pytest.raises(openai.AuthenticationError):
                await client.with_options(api_key="pk-nobody-knows-this-key").models.list()
            return answers, text
    try:
        answers, text = asyncio.run(calls())
    except TypeError as problem:  # a client that has gone over to another HTTP library
        pytest.skip(str(problem))
    assert all(a.choices[0].message.content == "Hello." for a in answers)
    assert text == "Hello."


def h2_client(pki=None, **keywords):
    verify = client_context(pki) if pki else False
    return httpx.Client(http2=True, http1=False, verify=verify, timeout=30 * PATIENCE,
                        headers=AUTH, **keywords)


class H2Client:
    """HTTP/2 frame by frame, for what clients for people do not do."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, 10 * PATIENCE)
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.events = []
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def post(self, path, body):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "POST"), (":path", path), (":scheme", "http"),
                                      (":authority", "a"), ("authorization", f"Bearer {KEY}")])
        self.h2.send_data(stream, json.dumps(body).encode(), end_stream=True)
        self.flush()

    def wait_for(self, kind, stream=None):
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream in (None, event.stream_id):
                    return event
            data = self.socket.recv(65536)
            assert data, "the connection was closed"
            self.events += self.h2.receive_data(data)
            self.flush()


def test_http2_prior_knowledge(gateway):
    with h2_client() as client:
        answer = client.post(f"{gateway.url}/v1/chat/completions", json=CHAT)
        assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
        assert answer.headers["x-penstock-target"] == "house/m"
        with client.stream("POST", f"{gateway.url}/v1/chat/completions",
                           json={**CHAT, "stream": True}) as stream:
            assert b"[DONE]" in stream.read()
        assert client.post(f"{gateway.url}/v1/chat/completions", content=b"{").status_code == 400
        assert client.get(f"{gateway.url}/healthz").json()["status"] == "ok"
        head = client.head(f"{gateway.url}/healthz")
        assert (head.status_code, head.content) == (200, b"")


def test_http2_large_bodies(gateway, upstream):
    async def echo(call):
        await call.reply({"said": call.request.json["messages"][0]["content"]})
    upstream.default = echo
    text = "x" * 3_000_000
    with h2_client() as client:
        answer = client.post(f"{gateway.url}/v1/chat/completions", json={
            "model": "m", "messages": [{"role": "user", "content": text}]})
        assert answer.json()["said"] == text


def test_http2_streams_at_once(start_gateway, mock):
    gateway = start_gateway(over(mock.base_url))

    async def one(client, i):
        model = f"mock-echo+stream-{i % 7 + 2}x3ms"
        text = f"stream {i} " * 50
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
        async with client.stream("POST", f"{gateway.url}/v1/chat/completions",
                                 json=body) as answer:
            assert answer.status_code == 200
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: {")]
        parts = [json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in lines]
        assert "".join(parts) == text

    async def all_of_them():
        async with httpx.AsyncClient(http2=True, http1=False, headers=AUTH,
                                     timeout=60 * PATIENCE) as client:
            await asyncio.gather(*(one(client, i) for i in range(200)))
    asyncio.run(all_of_them())
    assert gateway.metric("requests_in_flight") <= 1


def test_http2_abort_closes_the_upstream(gateway, upstream):
    async def endless(call):
        await call.begin_stream()
        while not call.connection.closed.is_set():
            await call.event(delta("more"))
            await asyncio.sleep(0.005)
    upstream.default = endless
    with H2Client(gateway.address) as client:
        client.post("/v1/chat/completions", {**CHAT, "stream": True})
        client.wait_for(h2.events.DataReceived)
        client.h2.reset_stream(1)
        client.flush()
        assert upstream.requests[0].connection.closed.wait(10 * PATIENCE)
        upstream.default = answer_well
        client.post("/v1/chat/completions", CHAT)
        assert client.wait_for(h2.events.ResponseReceived, 3).headers[0] == (b":status", b"200")


def test_http2_client_that_vanishes_closes_its_upstreams(gateway, upstream):
    async def hang(call):
        await call.hang()
    upstream.default = hang
    with H2Client(gateway.address) as client:
        for _ in range(10):
            client.post("/v1/chat/completions", CHAT)
        upstream.wait_for_requests(10)
    for got in upstream.requests:
        assert got.connection.closed.wait(10 * PATIENCE)
    wait_for(lambda: gateway.metric("requests_in_flight") <= 1, what="the end of all calls")


def test_http2_stream_that_dies_is_reset(start_gateway, mock):
    gateway = start_gateway(over(mock.base_url))
    with h2_client() as client:
        with client.stream("POST", f"{gateway.url}/v1/chat/completions", json={
                **CHAT, "model": "mock-cut-after-3", "stream": True}) as stream:
            with pytest.raises(httpx.RemoteProtocolError):
                stream.read()
        assert client.post(f"{gateway.url}/v1/chat/completions",
                           json={**CHAT, "model": "mock-ok"}).status_code == 200


# --- providers --------------------------------------------------------------------------------------


def secure(upstream, **words):
    settings = over(upstream.base_url)
    settings["providers"]["house"].update(words)
    return settings


def test_provider_with_our_own_authority(start_gateway, pki):
    with Upstream(tls=server_context(pki)) as upstream:
        gateway = start_gateway(secure(upstream, ca_file=str(pki / "ours.pem")))
        for _ in range(3):
            assert gateway.chat("m").status_code == 200
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", headers=AUTH,
                          json={**CHAT, "stream": True}) as stream:
            assert b"[DONE]" in stream.read()
        assert upstream.requests[0].header("authorization") == f"Bearer {PROVIDER_KEY}"


@pytest.mark.parametrize("certificate,authority,words", [
    ("server", "others", "unknown authority|self-signed"),
    ("server", None, "unknown authority|self-signed"),
    ("foreign", "ours", "unknown authority|self-signed"),
    ("elsewhere", "ours", "elsewhere.example"),
])
def test_provider_that_cannot_be_trusted(start_gateway, pki, certificate, authority, words):
    """502, and why in words; the key never leaves."""
    with Upstream(tls=server_context(pki, certificate)) as upstream:
        more = {"ca_file": str(pki / f"{authority}.pem")} if authority else {}
        gateway = start_gateway(secure(upstream, **more))
        answer = gateway.chat("m")
        assert answer.status_code == 502
        error = answer.json()["error"]
        assert error["code"] == "upstream_error"
        assert any(word in error["message"] for word in words.split("|")), error
        assert not upstream.requests


def test_provider_that_asks_for_our_certificate(start_gateway, pki):
    with Upstream(tls=server_context(pki, client_ca="ours")) as upstream:
        ca = str(pki / "ours.pem")
        with_it = start_gateway(secure(upstream, ca_file=ca, certificate=str(pki / "client.pem"),
                                       key=str(pki / "client.key")))
        assert with_it.chat("m").status_code == 200
        without = start_gateway(secure(upstream, ca_file=ca))
        answer = without.chat("m")
        assert answer.status_code == 502
        # Its alert says why, unless the reset of its end overtakes it.
        assert re.search("TLS.*(certificate|closed)", answer.json()["error"]["message"])


def test_provider_in_the_clear_behind_an_https_url(start_gateway):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            peer, _ = server.accept()
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            peer.close()
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        gateway = start_gateway(over(f"https://localhost:{server.getsockname()[1]}/v1"))
        answer = gateway.chat("m")
        thread.join(10)
    assert answer.status_code == 502
    assert "TLS" in answer.json()["error"]["message"]


def test_provider_over_http2(start_gateway, upstream, pki):
    """Another gateway stands in for a provider that speaks HTTP/2, by ALPN and in the clear."""
    back = start_gateway(over(upstream.base_url))
    port = free_port()
    back.configure({"listen": [back.settings["listen"], {
        "address": f"127.0.0.1:{port}",
        "tls": {"certificate": str(pki / "server.pem"), "key": str(pki / "server.key")}}]})
    assert run("reload", "-c", back.file).returncode == 0
    for base_url, words in [(f"https://localhost:{port}/v1", {"ca_file": str(pki / "ours.pem")}),
                            (f"http://127.0.0.1:{back.port}/v1", {"http": "2"})]:
        house = {"dialect": "openai", "base_url": base_url, "api_key": KEY, **words}
        front = start_gateway(providers={"house": house}, models={"*": "house/*"}, workers=1)

        async def calls(url):
            async with httpx.AsyncClient(headers=AUTH, timeout=30 * PATIENCE) as client:
                return await asyncio.gather(*(client.post(
                    f"{url}/v1/chat/completions", json={**CHAT, "stream": i % 2 == 1})
                    for i in range(60)))
        assert front.chat("m").status_code == 200  # from here on it is known to speak HTTP/2
        answers = asyncio.run(calls(front.url))
        assert {a.status_code for a in answers} == {200}
        assert all(b"[DONE]" in a.content for a in answers[1::2])
        assert front.metric("upstream_connections_opened_total") <= 2
