"""The real binary as a child: started with a configuration, watched, stopped, and judged."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

import httpx
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("PENSTOCK_BINARY", str(ROOT / "build" / "penstock"))
IS_SANITIZED = os.environ.get("PENSTOCK_IS_SANITIZED") == "1"
PATIENCE = 4 if IS_SANITIZED else 1  # what a bound on time is multiplied by

ADMIN_KEY = "admin-canary-7f3a9c51e2"
PROVIDER_KEY = "sk-provider-canary-08d1b7"
KEY = "pk-caller-canary-4e5f6071"
LIMITED_KEY = "pk-limited-canary-92ab33"

# What a sanitizer or an assertion leaves on standard error.
REPORT = re.compile(r"assert|AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error|"
                    r"UndefinedBehavior|panic|stack overflow", re.I)


def free_port():
    """Below the range of ports that the kernel hands out by itself."""
    while True:
        port = random.randrange(12000, 30000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(condition, seconds=10, what="it"):
    """Polls until the condition holds; returns its value."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def children(pid):
    try:
        return [int(c) for c in
                pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run(*arguments, **keywords):
    """A command that ends by itself."""
    keywords.setdefault("timeout", 30 * PATIENCE)
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True,
                          check=False, stdin=subprocess.DEVNULL, **keywords)


class Process:
    """A long-running command of the binary, with its output in files."""

    def __init__(self, folder, name, arguments, environment=None, cwd=None):
        self.folder, self.name, self.arguments = pathlib.Path(folder), name, arguments
        self.environment, self.cwd = environment, cwd
        self.process = None

    def launch(self):
        with (self.folder / f"{self.name}.out").open("ab") as out, \
             (self.folder / f"{self.name}.err").open("ab") as err:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [BINARY, *map(str, self.arguments)], stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, env={**os.environ, **(self.environment or {})}, cwd=self.cwd,
                start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    @property
    def out(self):
        return (self.folder / f"{self.name}.out").read_text(errors="replace")

    @property
    def err(self):
        return (self.folder / f"{self.name}.err").read_text(errors="replace")

    def wait_for_answer(self, url, seconds=15):
        def answers():
            assert self.process.poll() is None, \
                f"exited with {self.process.returncode}: {self.err}"
            try:
                return httpx.get(url, timeout=5 * PATIENCE).status_code == 200
            except httpx.TransportError:
                return False
        wait_for(answers, seconds, url)

    def signal(self, number):
        os.kill(self.pid, number)

    def judge(self, status=0):
        """After its end: the exit code, and no report on standard error."""
        assert self.process.returncode == status, f"exit {self.process.returncode}: {self.err}"
        report = REPORT.search(self.err)
        assert not report, self.err

    def stop(self, seconds=15):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(seconds * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise AssertionError(f"did not stop after TERM: {self.err}") from None
        self.judge()

    def kill_all(self):
        """The whole session, however it is: for a test that failed."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)


class Mock(Process):
    """`penstock mock`."""

    def __init__(self, folder, port=None):
        self.port = port or free_port()
        super().__init__(folder, "mock", ["mock", "--listen", f"127.0.0.1:{self.port}"])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        self.launch()
        self.wait_for_answer(f"http://127.0.0.1:{self.port}/mock/calls")
        return self

    def calls(self):
        answer = httpx.get(f"http://127.0.0.1:{self.port}/mock/calls", timeout=10).json()
        return answer["data"] if isinstance(answer, dict) else answer

    def clear(self):
        httpx.delete(f"http://127.0.0.1:{self.port}/mock/calls", timeout=10).raise_for_status()


class Gateway(Process):
    """`penstock serve`. `settings` are laid over the usual configuration; None leaves one out."""

    def __init__(self, folder, settings=None, environment=None):
        super().__init__(folder, "penstock", [], environment, cwd=folder)
        self.port = free_port()
        self.file = self.folder / "penstock.yaml"
        self.arguments = ["serve", "-c", self.file]
        self.log_file = self.folder / "access.log"
        self.settings = {
            "listen": f"127.0.0.1:{self.port}",
            "workers": 2,
            "access_log": "access.log",
            "admin": {"key": ADMIN_KEY},
            "providers": {},
            "keys": [{"name": "caller", "key": KEY}],
        }
        self.configure(settings or {})

    def configure(self, changes):
        """Writes the file, whole at once, as an editor does."""
        self.settings = {name: value for name, value in {**self.settings, **changes}.items()
                         if value is not None}
        self.write(yaml.safe_dump(self.settings, sort_keys=False))

    def write(self, text):
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.launch()
        self.wait_for_answer(f"{self.url}/readyz")
        return self

    @property
    def worker(self):
        """The worker's process."""
        found = children(self.pid)
        return found[0] if found else None

    def ask(self, path, body=None, key=KEY, **keywords):
        """One request by httpx, without retries: GET, or POST when there is a body."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers.update(keywords.pop("headers", {}))
        keywords.setdefault("timeout", 30 * PATIENCE)
        if body is None:
            return httpx.get(self.url + path, headers=headers, **keywords)
        how = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(self.url + path, headers=headers, **how, **keywords)

    def chat(self, model, **keywords):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        body.update(keywords.pop("body", {}))
        return self.ask("/v1/chat/completions", body, **keywords)

    def admin(self, method, path, key=ADMIN_KEY):
        return httpx.request(method, self.url + path, timeout=30 * PATIENCE,
                             headers={"Authorization": f"Bearer {key}"})

    def metrics(self):
        """Every sample of /metrics: {name with labels: value}."""
        text = httpx.get(f"{self.url}/metrics", timeout=10 * PATIENCE).text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def metric(self, name):
        return self.metrics()["penstock_" + name]

    def log_lines(self):
        if not self.log_file.exists():
            return []
        text = self.log_file.read_text()
        return text[:text.rfind("\n") + 1].splitlines()

    def record(self, request_id):
        """The access log's line of a call; waits until it is written."""
        return wait_for(lambda: next((r for r in map(json.loads, self.log_lines())
                                      if r["id"] == request_id), None),
                        what=f"the record of {request_id}")
