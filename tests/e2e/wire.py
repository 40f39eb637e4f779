"""Raw bytes over a socket, and a strict reader of answers that shares nothing with the gateway."""

import re
import socket
import ssl
import struct
import time


class Closed(Exception):
    """The connection ended where more was expected."""


class Answer:
    """One answer: status, fields in order, body, and whether the peer says it will close."""

    def __init__(self, status, fields, body, interim):
        self.status, self.fields, self.body, self.interim = status, fields, body, interim

    def header(self, name):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def closes(self):
        return "close" in (self.header("connection") or "").lower()


class RawClient:
    """A connection to write any bytes to. Waits `seconds` for bytes, then socket.timeout."""

    def __init__(self, address, seconds=10, tls=None, server_name="localhost"):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(seconds)
        self.socket.connect(address)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends; a peer that does not want the rest is no error here."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return False

    def send_slowly(self, data, step=1):
        return all(self.send(data[i:i + step]) for i in range(0, len(data), step))

    def shut(self):
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self):
        """Gone without a goodbye: a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_some(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(f"closed after {self.received[:200]!r}")
        self.received += data

    def take(self, count):
        while len(self.received) < count:
            self.read_some()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def take_until(self, mark):
        while mark not in self.received:
            self.read_some()
        return self.take(self.received.index(mark) + len(mark))

    def take_until_closed(self):
        try:
            while True:
                self.read_some()
        except Closed:
            taken, self.received = self.received, b""
            return taken

    def wait_until_closed(self, seconds=10):
        """Takes what still comes; the seconds that it took."""
        self.socket.settimeout(seconds)
        start = time.monotonic()
        self.take_until_closed()
        return time.monotonic() - start

    def is_silent(self, seconds):
        """True when nothing, not even the end, comes in that time."""
        self.socket.settimeout(seconds)
        try:
            self.read_some()
        except TimeoutError:
            return True
        except Closed:
            return False
        finally:
            self.socket.settimeout(10)
        return False

    def read_head(self):
        head = self.take_until(b"\r\n\r\n").decode("latin-1")
        lines = head[:-4].split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", lines[0])
        assert match, f"bad status line {lines[0]!r}"
        fields = []
        for line in lines[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", line)
            assert field and not re.search("[\0\r\n]", line), f"bad field {line!r}"
            fields.append(field.groups())
        return int(match.group(1)), fields

    def read_chunk(self):
        size = int(self.take_until(b"\r\n")[:-2], 16)
        data = self.take(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    def read_chunked(self):
        body = b""
        while chunk := self.read_chunk():
            body += chunk
        return body

    def read_answer(self, method="GET"):
        """One whole answer, and the interim ones before it."""
        interim = []
        while True:
            status, fields = self.read_head()
            if status >= 200:
                break
            interim.append(status)
        answer = Answer(status, fields, b"", interim)
        length, coding = answer.header("content-length"), answer.header("transfer-encoding")
        assert not (length and coding), "two framings in one answer"
        if method == "HEAD" or status in (204, 304):
            return answer
        if coding:
            assert coding == "chunked"
            answer.body = self.read_chunked()
        elif length is not None:
            answer.body = self.take(int(length))
        else:
            answer.body = self.take_until_closed()
        return answer

    def ask(self, data, method="GET"):
        self.send(data)
        return self.read_answer(method)


def request(method, target, fields=(), body=b"", host="a"):
    """A plain request's bytes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in fields)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
