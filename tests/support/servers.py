"""Servers for tests of remote shards: a web server that misbehaves as told, and an S3-compatible one."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY_BLOCK = 1 << 16
PAGE = b"<!DOCTYPE html>\n<html><body>Please sign in</body></html>"


class WebServer:
    """Serves a folder on loopback. ``faults[name]`` is what happens to requests for a file: a mode, or a list of them.

    A list is used up, one mode per request; then the file is served. ``counts`` holds finished and unfinished requests
    by (method, name), ``headers`` the last ones by name.
    """

    def __init__(self, folder, scheme="http", context=None):
        self.folder = Path(folder)
        self.faults = {}
        self.counts = Counter()
        self.headers = {}
        self.sending = threading.Event()  # set when a body has begun
        self.stopping = threading.Event()
        self.pause_s = 0.0  # between blocks of a body
        self._lock = threading.Lock()
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/set"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def note(self, method, name, headers):
        """Count a request; returns what shall happen to it."""
        with self._lock:
            self.counts[method, name] += 1
            self.headers[name] = dict(headers)
            fault = self.faults.get(name)
            if isinstance(fault, list):
                return fault.pop(0) if fault else None
            return fault


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up or are killed: they are part of the tests."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class _Handler(BaseHTTPRequestHandler):
    web: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        mode = self.web.note(self.command, name, self.headers)
        if isinstance(mode, int):
            return self._send(mode, b"no")
        if mode is not None and mode.startswith("no ") and self.command == "HEAD":
            mode = 405 if mode == "no head" else None
            if mode:
                return self._send(mode, b"")
        path = self.web.folder / name
        if not path.is_file():
            return self._send(404, b"not here")
        body = path.read_bytes()
        if mode is None or mode.startswith("no "):
            return self._serve(body, use_ranges=mode != "no ranges")
        self.close_connection = True  # and says so in _send: a client that meant to go on with it would see a hang-up
        getattr(self, "_" + mode.replace(" ", "_"))(body)
        return None

    def _serve(self, body, use_ranges=True):
        asked = self.headers.get("Range")
        if not (asked and use_ranges):
            return self._send(200, body)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if int(first) >= len(body):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        part = body[int(first) : int(last) + 1]
        return self._send(206, part, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"})

    def _send(self, status, body, headers=None, length=None):
        self.send_response(status)
        for key, value in (headers or {"Content-Type": "application/octet-stream"}).items():
            self.send_header(key, value)
        if length != "none":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        if self.close_connection or length == "none":
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(body), BODY_BLOCK):
                self.wfile.write(body[start : start + BODY_BLOCK])
                self.web.sending.set()
                if self.web.pause_s:
                    self.web.stopping.wait(self.web.pause_s)

    def _hang(self, body):
        self.web.stopping.wait(60)

    def _stall(self, body):
        self._send(200, body[: len(body) // 2], length=len(body))
        self.web.stopping.wait(60)

    def _trickle(self, body):
        self._send(200, b"", length=len(body))
        for i in range(len(body)):
            self.wfile.write(body[i : i + 1])
            if self.web.stopping.wait(0.05):
                return

    def _cut(self, body):
        self._send(200, body[: len(body) // 2], length=len(body))

    def _cut_unannounced(self, body):
        self._send(200, body[: len(body) // 2], length="none")

    def _announce_less(self, body):
        self._send(200, body, length=len(body) - 100)

    def _announce_more(self, body):
        self._send(200, body, length=len(body) + 100)

    def _page(self, body):
        self._send(200, PAGE, {"Content-Type": "text/html"})

    def _flip(self, body):
        self._send(200, body[:-1] + bytes([body[-1] ^ 1]))

    def _endless(self, body):
        self._send(200, b"", length="none")
        with contextlib.suppress(OSError):
            while not self.web.stopping.is_set():
                self.wfile.write(bytes(BODY_BLOCK))

    def _redirect(self, body):
        self._send(302, b"", {"Location": self.path})

    def _redirect_to_file(self, body):
        self._send(302, b"", {"Location": "file:///etc/passwd"})

    def _reset(self, body):
        self._send(200, body[: len(body) // 2], length=len(body))
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _hang_up(self, body):
        self.connection.shutdown(socket.SHUT_RDWR)

    def _babble(self, body):
        self.wfile.write(b"220 mail.example.org ESMTP ready\r\n\r\n")

    def _wrong_range(self, body):
        self._send(206, body[:10], {"Content-Range": f"bytes 0-9/{len(body)}"})


@contextlib.contextmanager
def s3_server(log):
    """The address of an S3-compatible server (moto) in a process of its own; ``log`` is the file for what it says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Path(log).open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, Path(log).read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
