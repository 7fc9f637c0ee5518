"""Receivers of notifications on loopback: a webhook and a mail server, as far as a sender sees them."""

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook(ThreadingHTTPServer):
    """Keeps what is posted to it; `answers` are the codes to answer with, the last for all that follow; 0 hangs."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), _HookHandler)
        self.answers, self.asked, self.over = list(answers or (200,)), 0, threading.Event()
        self.got: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0/B0/secretsecret"


class _HookHandler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        code = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if code == 0:
            self.server.over.wait(60)
            return
        if code == 200:
            self.server.got.append(body)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


class Post(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it gets; `refuse` maps a command or an address to its answer.

    With `starttls` and no `tls` it offers what it cannot do; with `tls` alone it speaks TLS from the start.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, refuse: dict[str, str], *, login: bool, starttls: bool, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _PostHandler)
        self.refuse, self.login, self.starttls, self.tls = refuse, login, starttls, tls
        self.letters: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _PostHandler(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        if "connect" in self.server.refuse:
            self.server.over.wait(60)
            return
        with suppress(OSError):  # a client that does not trust us hangs up
            if self.server.tls and not self.server.starttls:
                self._secure(self.server.tls)
            self._talk()

    def _secure(self, tls: ssl.SSLContext) -> None:
        self.request = tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def _talk(self) -> None:
        self._say("220 post.example.org")
        letter: dict[str, Any] = {"to": [], "login": ""}
        while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
            word = line.split(" ")[0].upper()
            self.server.asked.append(word)
            answer = next((text for key, text in self.server.refuse.items() if key in line or key == word), "")
            if answer:
                self._say(answer)
            elif word in ("EHLO", "HELO"):
                offers = ["AUTH PLAIN"] * self.server.login + ["STARTTLS"] * self.server.starttls + ["SIZE 100000"]
                self._say(
                    "\r\n".join(["250-post.example.org", *(f"250-{o}" for o in offers[:-1]), f"250 {offers[-1]}"])
                )
            elif word == "AUTH":
                letter["login"] = line.split(" ")[-1]
                self._say("235 welcome")
            elif word == "DATA":
                self._say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += self.rfile.readline()
                self.server.letters.append(
                    letter | {"text": text[:-5], "secure": isinstance(self.request, ssl.SSLSocket)}
                )
                self._say("250 taken")
            elif word == "STARTTLS":
                self._say("220 go on")
                if self.server.tls is None:
                    return
                self._secure(self.server.tls)
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                if word == "RCPT":
                    letter["to"].append(line.partition(":")[2].strip("<>"))
                self._say("250 well")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def hook(*answers: int) -> Iterator[Hook]:
    with Hook(*answers) as server:
        yield from _served(server)


@contextmanager
def post(
    refuse: dict[str, str] | None = None,
    *,
    login: bool = False,
    starttls: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Post]:
    with Post(refuse or {}, login=login, starttls=starttls, tls=tls) as server:
        yield from _served(server)


def _served(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
