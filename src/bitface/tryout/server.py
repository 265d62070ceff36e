"""The server of the page: on the loopback interface, for whoever was told the token, and without a memory.

What keeps others out: it listens on 127.0.0.1; every path begins with a random token; the Host header has to name this
machine, so that a name of another site that was made to point here (DNS rebinding) is turned away; pictures come only
from the page itself. The page may run its own script and nothing else.
"""

import json
import secrets
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bitface.errors import BitfaceError
from bitface.tryout.trial import Trial

MOST_BYTES = 32_000_000
"""Of two pictures together."""
_SECONDS = 30
_BODY = "application/octet-stream"
_FILES = {
    "": ("index.html", "text/html"),
    "style.css": ("style.css", "text/css"),
    "script.js": ("script.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class TryoutServer(ThreadingHTTPServer):
    """Serves the page of a trial until `shutdown`.

    Attributes:
        url: of the page, with its token.
    """

    daemon_threads = True

    def __init__(self, trial: Trial, port: int = 0) -> None:
        """Args:
            port: 0: any that is free.

        Raises:
            BitfaceError: the port is taken, or isn't one that may be used.
        """
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise BitfaceError(f"port {port} can't be used ({error.strerror}); choose another, or none") from error
        self.trial, self.token = trial, secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        # One comparison at a time: the detector is one's own, and so is the memory that a picture takes.
        self.turn = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed while it was answered is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


def _number(text: str) -> int | None:
    """A number of bytes; None where it isn't one."""
    return int(text) if text.isdecimal() and len(text) < 19 else None


class _Handler(BaseHTTPRequestHandler):
    server: TryoutServer
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server_version, sys_version = "bitface", ""

    def do_GET(self) -> None:
        if (name := self._name()) is None:
            return
        if name == "facts":
            self._answer(self.server.trial.facts)
        elif name in _FILES:
            file, kind = _FILES[name]
            self._send(HTTPStatus.OK, (resources.files("bitface.tryout") / "page" / file).read_bytes(), kind)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if (name := self._name()) is None:
            return
        if name != "compare":
            return self._refuse(HTTPStatus.NOT_FOUND)
        if self.headers.get("Origin", self._origin) != self._origin:
            return self._refuse(HTTPStatus.FORBIDDEN)
        if self.headers.get_content_type() != _BODY:
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        length = _number(self.headers.get("Content-Length", ""))
        first = _number(parse_qs(urlsplit(self.path).query).get("first", [""])[0])
        if length is None:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED)
        if length > MOST_BYTES:
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"two pictures of {MOST_BYTES // 1_000_000} MB at most"
            )
        body = self.rfile.read(length)
        if first is None or not 0 < first < len(body) == length:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        try:
            with self.server.turn:
                answer = self.server.trial.compare([body[:first], body[first:]])
        except BitfaceError as error:
            return self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), close=False)
        except Exception as error:
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"unexpected {type(error).__name__}: {error}")
        self._answer(answer)

    @property
    def _origin(self) -> str:
        return f"http://{self.headers.get('Host')}"

    def _name(self) -> str | None:
        """What is asked for, behind the token; None where the question was turned away."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        _, token, *rest = [*urlsplit(self.path).path.split("/"), ""]
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return "/".join(rest[:-1])

    def _answer(self, content: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(content).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, reason: str | None = None, close: bool = True) -> None:
        """A body that wasn't read would be taken for the next request, so the connection ends."""
        self.close_connection = close
        self._send(status, json.dumps({"error": reason or status.phrase}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {
            **_HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)),
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: what is asked for holds the token."""
