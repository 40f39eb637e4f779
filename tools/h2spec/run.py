#!/usr/bin/env python3
"""The public HTTP/2 conformance tester against our server, in the clear and over TLS. TAP.

usage: run.py BINARY            starts tests/h2spec_server of its build, tests it, stops it
       run.py --port PORT       tests what already listens there, in the clear

Many cases send a body and want to see it judged: that takes a handler that reads it before it
answers, which the echo server has and /healthz has not.
"""

import argparse
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
H2SPEC = ROOT / ".deps" / "bin" / "h2spec"
sys.path.insert(0, str(ROOT / "tools"))

from tap import Tap  # noqa: E402

# In the clear a port speaks HTTP/1.1 too: bytes that are no HTTP/2 preface are a bad HTTP/1.1
# request, and get a 400 in that version before the connection is closed.
ANSWERED_BY_HTTP1 = "Sends invalid connection preface"


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
        is_http1 = title == "h2c" and case.get("classname") == ANSWERED_BY_HTTP1
        if case.find("skipped") is None and not is_http1:
            tap.rule(f"{title} {case.get('package')} {case.get('classname')}",
                     [] if problem is None else (problem.text or "no answer").splitlines())
    if len(cases) < 100:
        tap.rule(f"{title}: the tester ran", (done.stdout + done.stderr).splitlines()[-10:])


def wait_until_ready(child, port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


def serve_and_test(tap, title, server, port, *files):
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
            [server, str(port), *files], stdout=log, stderr=subprocess.STDOUT) as child:
        try:
            ready = wait_until_ready(child, port)
            if ready:
                test(tap, title, port, "/", *(["-t", "-k"] if files else []))
            is_alive = child.poll() is None
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        tail = log.read().splitlines()[-20:]
        tap.rule(f"{title}: the server starts", [] if ready else tail)
        tap.rule(f"{title}: the server lives", [] if is_alive else tail)


def test_both(tap, binary):
    clear, tls = free_ports(2)
    server = binary.parent / "tests" / "h2spec_server"
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder, "key.pem"), pathlib.Path(folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", key, "-out", certificate], check=True, capture_output=True)
        serve_and_test(tap, "h2c", server, clear)
        serve_and_test(tap, "h2", server, tls, certificate, key)


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
        test_both(tap, options.binary.resolve())
    tap.done()


if __name__ == "__main__":
    main()
