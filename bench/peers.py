"""The programs that are compared: how each is configured, started and found ready."""

import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import time

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
GATEWAY_CPU, LOAD_CPU = 0, 1
CALLER_KEY = "bench-caller-key-0123456789"

NGINX = """\
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    # A request of 1 KB is read in one call, as it is by the others.
    client_header_buffer_size 2k;
    # A body that does not fit goes through a file, which would make nginx look bad at 100 KB.
    client_body_buffer_size 1m;
    client_max_body_size 64m;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    proxy_read_timeout 1h;
    upstream mock {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {address} backlog=8192;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn {connections}
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    http-reuse always
    option http-no-delay
frontend callers
    bind {address} backlog 8192
    default_backend mock
backend mock
    server mock {upstream}
"""


def files_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Failed(Exception):
    """A peer or a tool did not do what a measurement needs."""


def free_address():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"


def spawn(command, cpu, log, **more):
    """Starts a process on one CPU. The affinity is inherited, so that nothing runs between fork
    and exec, and a start-up time is that of the program."""
    os.sched_setaffinity(0, {cpu})
    try:
        with open(log, "ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                    **more)
    except OSError as problem:
        raise Failed(f"cannot start {command[0]}: {problem.strerror}") from problem
    finally:
        os.sched_setaffinity(0, {LOAD_CPU})


def accepts(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 1).close()
        return True
    except OSError:
        return False


def answers_200(address, path):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Peer:
    name = "?"
    ready_path = None  # None: ready is when it accepts
    headers = ["--authorization", f"Bearer {CALLER_KEY}"]  # callers send their key to every gateway
    stream_rate = 400  # streams a second for the time to first byte: well below what it can do
    own_reference = False  # its answers rightly differ from the upstream's; see Portkey
    prefix = []  # of the command: valgrind, say

    def __init__(self, folder, upstream):
        self.dir = os.path.join(folder, self.name)
        os.makedirs(self.dir, exist_ok=True)
        self.log = os.path.join(self.dir, "output.log")
        self.upstream = upstream
        self.address = free_address()
        self.process = None

    def twin(self, rig, purpose):
        """Another one like it, to be started fresh."""
        other = self.make(rig.folder, rig.mock.address)
        other.dir = os.path.join(self.dir, purpose)
        os.makedirs(other.dir, exist_ok=True)
        other.name, other.log = f"{self.name}-{purpose}", os.path.join(other.dir, "output.log")
        other.write_config()
        return other

    def make(self, folder, upstream):
        return type(self)(folder, upstream)

    def write_config(self):
        """Files that must be there before the command is known."""

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        if self.ready_path:
            return answers_200(self.address, self.ready_path)
        return accepts(self.address)

    def start(self, cpu=GATEWAY_CPU, patience=30.0):
        """Seconds from before fork to ready."""
        command = self.command()
        begin = time.monotonic()
        self.process = spawn(self.prefix + command, cpu, self.log, cwd=self.dir, env=self.environment())
        while not self.is_ready():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with status {self.process.returncode}: "
                             f"{self.last_words()}")
            if time.monotonic() - begin > patience:
                self.stop()
                raise Failed(f"{self.name} was not ready after {patience:.0f} s: "
                             f"{self.last_words()}")
            time.sleep(0.0002)
        return time.monotonic() - begin

    def environment(self):
        return dict(os.environ)

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            lines = f.read().strip().splitlines()
        return lines[-1] if lines else "no output"

    def pids(self):
        return measure.process_tree(self.process.pid)

    def stop(self):
        if not self.process:
            return
        pids = self.pids() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in pids:  # a master that dies hard may leave its worker behind
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        self.process = None


class Mock(Peer):
    """The upstream; `template` is a command with {address} in it."""

    name = "mock"

    def __init__(self, folder, template):
        super().__init__(folder, None)
        self.template = template

    def command(self):
        return [w.replace("{address}", self.address) for w in self.template.split()]


class Direct(Peer):
    """No gateway: the upstream itself."""

    name = "direct"

    def __init__(self, folder, upstream):
        super().__init__(folder, upstream)
        self.address = upstream

    def start(self, cpu=GATEWAY_CPU, patience=30.0):
        return 0.0


class Nginx(Peer):
    name = "nginx"

    def command(self):
        path = self.write("nginx.conf", NGINX.format(dir=self.dir, address=self.address,
                                                     upstream=self.upstream, files=files_limit(),
                                                     connections=files_limit() - 100))
        return ["nginx", "-p", self.dir, "-c", path]

    @staticmethod
    def missing():
        return None if shutil.which("nginx") else "nginx is not installed"


class Haproxy(Peer):
    name = "haproxy"

    def command(self):
        path = self.write("haproxy.cfg", HAPROXY.format(address=self.address,
                                                        upstream=self.upstream,
                                                        connections=files_limit() // 2 - 100))
        return ["haproxy", "-db", "-f", path]

    @staticmethod
    def missing():
        return None if shutil.which("haproxy") else "haproxy is not installed"


class Penstock(Peer):
    name = "penstock"
    ready_path = "/readyz"

    def __init__(self, folder, upstream, binary, name=None, more_keys=0):
        self.name = name or "penstock"
        super().__init__(folder, upstream)
        self.binary = os.path.abspath(binary)
        self.more_keys = more_keys
        self.write_config()

    def make(self, folder, upstream):
        """A twin has the one key that is used: ten thousand would count as its idle memory."""
        return Penstock(folder, upstream, self.binary, self.name)

    def write_config(self, extra=""):
        with open(os.path.join(HERE, "penstock.yaml"), encoding="utf-8") as f:
            text = f.read() + extra
        for i in range(self.more_keys):
            text += f"  - {{name: other-{i}, key: bench-other-key-{i:010d}}}\n"
        self.config = self.write("penstock.yaml", text)

    def environment(self):
        return dict(os.environ, BENCH_LISTEN=self.address, BENCH_UPSTREAM=self.upstream)

    def command(self):
        return [self.binary, "serve", "-c", self.config]

    def reload(self, number):
        """Each time with another key in the file, so that no two snapshots are the same."""
        self.write_config(f"  - {{name: turn, key: bench-turn-key-{number:010d}}}\n")
        run = subprocess.run([self.binary, "reload", "-c", self.config], env=self.environment(),
                             capture_output=True, text=True, timeout=30, check=False)
        if run.returncode:
            said = (run.stderr or run.stdout).strip().splitlines()
            raise Failed(f"reload {number}: {said[-1] if said else 'no output'}")


class Portkey(Peer):
    """From npm, where it is installed; its package.json must pin @hono/node-server 1.13.5, hono
    4.9.7 and @hono/node-ws 1.2.0, or every streamed request fails. It writes the JSON anew and adds
    members: its answers are compared with its own first one, and that one, member by member, with
    the upstream's."""

    name = "portkey"
    own_reference = True
    stream_rate = 20
    # Where `make bench-peers` puts it.
    script = os.path.join(os.path.dirname(HERE), ".deps", "node", "node_modules", "@portkey-ai",
                          "gateway", "build", "start-server.js")

    def __init__(self, folder, upstream):
        super().__init__(folder, upstream)
        self.headers = Peer.headers + ["--header", "x-portkey-provider: openai", "--header",
                                       f"x-portkey-custom-host: http://{upstream}/v1"]

    def command(self):
        return ["node", self.script, "--headless", f"--port={self.address.rsplit(':', 1)[1]}"]

    def check_own_reference(self, honest, own):
        """None, or what differs."""
        wanted, got = documents(honest), documents(own)
        if len(wanted) != len(got):
            return f"{len(got)} events instead of {len(wanted)}"
        for a, b in zip(wanted, got):
            if not contains(b, a):
                return f"instead of {str(a)[:80]}: {str(b)[:80]}"
        return None

    @staticmethod
    def missing():
        if not shutil.which("node"):
            return "node is not installed"
        return None if os.path.exists(Portkey.script) else "@portkey-ai/gateway is not installed"


def documents(path):
    """The JSON documents of a payload: one, or those of its events."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if not text.startswith("data:"):
        return [json.loads(text)]
    events = [e[5:].strip() for e in text.split("\n\n") if e.startswith("data:")]
    return [e if e == "[DONE]" else json.loads(e) for e in events]


def contains(whole, part):
    """True when `whole` has every member of `part`; it may have more."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            k in whole and contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return (isinstance(whole, list) and len(whole) == len(part)
                and all(contains(w, p) for w, p in zip(whole, part)))
    return whole == part
