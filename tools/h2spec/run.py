#!/usr/bin/env python3
"""The public HTTP/2 conformance tester against a running Penstock, in the clear and over TLS. TAP.

usage: run.py BINARY            starts it, tests it, stops it
       run.py --port PORT       tests what already listens there, in the clear
"""

import argparse
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
H2SPEC = ROOT / ".deps" / "bin" / "h2spec"
sys.path.insert(0, str(ROOT / "tools"))

from tap import Tap  # noqa: E402

CONFIGURATION = """
listen:
  - {{address: 127.0.0.1:{clear}}}
  - {{address: 127.0.0.1:{tls}, tls: {{certificate: cert.pem, key: key.pem}}}}
access_log: off
providers:
  nobody: {{dialect: openai, base_url: http://127.0.0.1:9/v1}}
"""


def free_ports(count):
    """Ports that nobody listens on now; held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test(tap, title, port, path, *arguments):
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        done = subprocess.run([H2SPEC, "-h", "127.0.0.1", "-p", str(port), "-P", path, "-o", "3",
                               "--strict", "-j", report.name, *arguments], capture_output=True,
                              text=True, timeout=600, check=False)
        try:
            cases = list(xml.etree.ElementTree.parse(report.name).iter("testcase"))
        except xml.etree.ElementTree.ParseError:
            cases = []
    for case in cases:
        problem = case.find("failure")
        problem = case.find("error") if problem is None else problem
        # A section's own row has no text; a case that was left out says <skipped>.
        if case.find("skipped") is None:
            tap.rule(f"{title} {case.get('package')} {case.get('classname')}",
                     [] if problem is None else (problem.text or "no answer").splitlines())
    if len(cases) < 100:
        tap.rule(f"{title}: the tester ran", (done.stdout + done.stderr).splitlines()[-10:])


def wait_until_ready(child, port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


def serve_and_test(tap, binary):
    clear, tls = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", path / "key.pem", "-out", path / "cert.pem"],
                       check=True, capture_output=True)
        (path / "penstock.yaml").write_text(CONFIGURATION.format(clear=clear, tls=tls))
        with (path / "log").open("w") as log, subprocess.Popen(
                [binary, "serve", "-c", path / "penstock.yaml"], cwd=path, stdout=log,
                stderr=subprocess.STDOUT) as child:
            try:
                ready = wait_until_ready(child, clear)
                if ready:
                    test(tap, "h2c", clear, "/healthz")
                    test(tap, "h2", tls, "/healthz", "-t", "-k")
            finally:
                child.terminate()
                try:
                    status = child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    status = "killed: it did not end by itself"
        tail = (path / "log").read_text(errors="replace").splitlines()[-10:]
        tap.rule("penstock starts and answers /healthz", [] if ready else tail)
        tap.rule("penstock ends well afterwards", [] if status == 0 else [f"{status}", *tail])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?", type=pathlib.Path)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if not options.binary and not options.port:
        parser.error("a binary or a port is needed")
    tap = Tap()
    if options.port:
        test(tap, "h2c", options.port, "/")
    else:
        serve_and_test(tap, options.binary.resolve())
    tap.done()


if __name__ == "__main__":
    main()
