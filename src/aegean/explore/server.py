"""A web server for one browser on this machine.

Other users and other pages must not reach the model: the server listens on the loopback address alone, every path
begins with a secret, the header `Host` must be its own (or a page from elsewhere could point its name here), and there
is no path that leads to a file. What is answered depends on small JSON bodies, each checked against its form.
"""

import json
import logging
import secrets
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from aegean.errors import AegeanError, ConfigError
from aegean.explore.page import render_page
from aegean.explore.session import Session

ADDRESS = "127.0.0.1"
#: Bytes of a body, beside those of a code, and of each number of a code.
BODY, BODY_A_NUMBER = 4096, 32

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    seed: Seed


class _Decode(_Question):
    code: list[FiniteFloat]


class _Look(_Question):
    index: Annotated[int, Field(ge=0)]


class _Sample(_Question):
    label: Annotated[int, Field(ge=0)] | None


_QUESTIONS: dict[str, type[_Question]] = {"decode": _Decode, "look": _Look, "sample": _Sample}


class Explorer(ThreadingHTTPServer):
    """The explorer's server; `serve_forever` answers until it is interrupted.

    Args:
        session: what it answers from.
        title: of the page.
        port: 0 for one that is free.

    Raises:
        ConfigError: the port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, session: Session, title: str = "", port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.page, self.policy = render_page(title, session.sentences())
        self.limit = BODY + BODY_A_NUMBER * session.z.shape[1]
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"--port {port}: {reason}; choose another, or leave it out for a free one.") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of this machine, as the base class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that go away; log whatever else there is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            logging.getLogger(__name__).exception("the explorer could not answer")


class _Refusal(Exception):
    """A question that is not answered, with the status to say so."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Explorer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "aegean", ""
    timeout = 60
    # A head and a body in two packets would wait for each other's receipt, some 40 ms a picture.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Give the page, or what it needs at its start."""
        self._reply(self._get)

    def do_POST(self) -> None:
        """Answer a question."""
        self._reply(self._post)

    def _get(self) -> tuple[str, bytes]:
        match self._place():
            case "":
                return "text/html; charset=utf-8", self.server.page.encode()
            case "session":
                return _json(self.server.session.describe())
            case _:
                raise _Refusal(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _post(self) -> tuple[str, bytes]:
        question = _QUESTIONS.get(self._place())
        if question is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "There is nothing here.")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refusal(HTTPStatus.FORBIDDEN, "This page may not ask.")
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Ask in JSON.")
        try:
            asked = question.model_validate_json(self._body())
        except ValidationError:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "The question has another form.") from None
        session = self.server.session
        match asked:
            case _Decode():
                return _json(session.decode(asked.code, asked.seed))
            case _Look():
                return _json(session.look(asked.index, asked.seed))
            case _Sample():
                return _json(session.sample(asked.label, asked.seed))
        raise AssertionError(asked)  # pragma: no cover - all questions stand above

    def _place(self) -> str:
        """Check whom the request is for, and return what stands behind the secret."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise _Refusal(HTTPStatus.FORBIDDEN, "The explorer answers to its own address alone.")
        token, slash, place = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()) or not slash:
            raise _Refusal(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return place

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit() and len(length) < 12):
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "Say how long the question is.")
        if int(length) > self.server.limit:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The question is too long.")
        return self.rfile.read(int(length))

    def _reply(self, answer: Any) -> None:
        try:
            kind, body = answer()
            status = HTTPStatus.OK
        except _Refusal as refusal:
            status, (kind, body) = refusal.status, _json({"error": str(refusal)})
            self.close_connection = True  # a body may not have been read
        except AegeanError as error:
            status, (kind, body) = HTTPStatus.BAD_REQUEST, _json({"error": str(error)})
        except ConnectionError:
            raise
        except Exception:
            logging.getLogger(__name__).exception("the explorer could not answer")
            status, (kind, body) = HTTPStatus.INTERNAL_SERVER_ERROR, _json({"error": "The explorer could not answer."})
            self.close_connection = True
        self._send(status, kind, body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no HTTP, or another method, in the manner of all other refusals."""
        self.close_connection = True
        self._send(HTTPStatus(code), *_json({"error": HTTPStatus(code).phrase}))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", self.server.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            *((("Connection", "close"),) if self.close_connection else ()),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; the library does not print."""


def _json(answer: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(answer, allow_nan=False).encode("utf-8", "replace")
