"""Servers on loopback that offer files as publishers do, and fail as they do: http, https and ftp."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Lock, Thread
from urllib.parse import unquote, urlsplit

LONGEST_STALL_S = 10.0


@dataclass
class Stored:
    """A file on the server; without validators it can only be fetched at once."""

    content: bytes
    has_etag: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'"{sha256(self.content).hexdigest()[:12]}"'


@dataclass
class Fault:
    """What happens to one GET: another status, or a connection that ends after ``cut`` bytes of the body.

    ``stall`` bytes are sent, then nothing until the server's ``release`` is set.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    stall: int | None = None


class FileServer(ThreadingHTTPServer):
    """``files`` by path; ``faults`` come first, one a GET; ``asked`` records method, path and Range."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http"
        self.files: dict[str, Stored] = {}
        self.faults: list[Fault] = []
        self.head_status: int | None = None
        self.knows_ranges = self.knows_if_range = True
        self.asked: list[tuple[str, str, str | None]] = []
        self.release = Event()
        self.lock = Lock()
        self.n_at_once = self.most_at_once = 0
        self.gate: threading.Barrier | None = None

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}{path}"

    def put(self, path: str, content: bytes, **facts: object) -> str:
        self.files[path] = Stored(content, **facts)  # type: ignore[arg-type]
        return self.url(path)

    def ranges(self) -> list[str | None]:
        """The Range of each GET."""
        return [asked for method, _, asked in self.asked if method == "GET"]

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._note()
        if self.server.head_status is not None:
            self._send(self.server.head_status, {}, b"")
            return
        stored = self._stored()
        if stored is None:
            self._send(404, {}, b"")
            return
        self._send(200, self._facts(stored) | {"Content-Length": str(len(stored.content))}, b"")

    def do_GET(self) -> None:
        self._note()
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else Fault()
            self.server.n_at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.n_at_once)
        try:
            if self.server.gate is not None:
                with suppress(threading.BrokenBarrierError):
                    self.server.gate.wait(0.3)
            self._answer(fault)
        finally:
            with self.server.lock:
                self.server.n_at_once -= 1

    def _answer(self, fault: Fault) -> None:
        stored = self._stored()
        if fault.status is not None:
            length = {"Content-Length": str(len(fault.body))}
            self._send(fault.status, length | fault.headers, fault.body)
            return
        if stored is None:
            self._send(404, {"Content-Length": "0"}, b"")
            return
        total = len(stored.content)
        start = self._start(stored)
        if start is not None and start >= total:
            self._send(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"}, b"")
            return
        body = stored.content[start or 0 :]
        if self.headers.get("Range") == "bytes=0-0":
            body = body[:1]
        headers = self._facts(stored) | {"Content-Length": str(len(body))} | fault.headers
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{total}"
        sent = min(value for value in (fault.cut, fault.stall, len(body)) if value is not None)
        self._send(200 if start is None else 206, headers, body[:sent])
        if fault.stall is not None:
            self.server.release.wait(LONGEST_STALL_S)
            with suppress(OSError):
                self.wfile.write(body[sent:])
        if fault.cut is not None or sent < len(body):
            self.close_connection = True

    def _start(self, stored: Stored) -> int | None:
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found is None or not self.server.knows_ranges:
            return None
        condition = self.headers.get("If-Range")
        if self.server.knows_if_range and condition is not None and condition != stored.etag:
            return None
        return int(found[1])

    def _stored(self) -> Stored | None:
        return self.server.files.get(unquote(self.path)) or self.server.files.get(
            unquote(urlsplit(self.path).path)
        )

    def _facts(self, stored: Stored) -> dict[str, str]:
        return ({"ETag": stored.etag} if stored.has_etag else {}) | stored.headers

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _note(self) -> None:
        with self.server.lock:
            self.server.asked.append((self.command, unquote(self.path), self.headers.get("Range")))


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[FileServer]:
    """Serve until the block ends; over https with a certificate and its key in one file."""
    server = FileServer()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class FtpServer(ThreadingTCPServer):
    """Anonymous ftp with the few commands a download needs; ``cuts`` end transfers after so many bytes."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FtpHandler)
        self.files: dict[str, tuple[bytes, str]] = {}
        self.cuts: list[int] = []
        self.rests: list[int] = []

    def url(self, path: str) -> str:
        return f"ftp://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client goes away."""


class _FtpHandler(StreamRequestHandler):
    server: FtpServer

    def handle(self) -> None:
        self._say("220 ready")
        rest, data = 0, None
        for line in self.rfile:
            command, _, argument = line.decode().strip().partition(" ")
            content, changed = self.server.files.get(argument, (None, ""))
            match command:
                case "USER":
                    self._say("331 any password")
                case "PASS":
                    self._say("230 welcome")
                case "TYPE":
                    self._say("200 binary")
                case "SIZE":
                    self._say("550 no such file" if content is None else f"213 {len(content)}")
                case "MDTM":
                    self._say("550 no such file" if content is None else f"213 {changed}")
                case "REST":
                    rest = int(argument)
                    self.server.rests.append(rest)
                    self._say("350 go on")
                case "PASV" | "EPSV":
                    data = socket.create_server(("127.0.0.1", 0))
                    port = data.getsockname()[1]
                    passive = f"227 passive (127,0,0,1,{port // 256},{port % 256})"
                    self._say(passive if command == "PASV" else f"229 passive (|||{port}|)")
                case "RETR" if data is not None and content is not None:
                    self._say("150 here it comes")
                    cut = self.server.cuts.pop(0) if self.server.cuts else None
                    with data, data.accept()[0] as connection:
                        connection.sendall(content[rest:][:cut])
                    self._say("226 done" if cut is None else "426 cut")
                case _:
                    self._say("550 no such file")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def serving_ftp() -> Iterator[FtpServer]:
    """Serve ftp until the block ends."""
    server = FtpServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
