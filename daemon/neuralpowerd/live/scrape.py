"""One page over HTTP, for Prometheus: a thread of its own, few connections at a time, each for a short time, nothing read but a request line.

The page is made at most once for each of its two formats and each state of what it tells, however often it is asked for.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import DaemonError

log = logging.getLogger(__name__)

PATH = "/metrics"
MOST_PEERS = 8
"""A Prometheus has one connection, for some milliseconds; a second one and somebody with curl have room."""
MOST_REQUEST = 8192
"""Bytes: Prometheus' own request has about 300."""
PATIENCE_S = 5.0
"""For a whole request and its answer: a scrape is given up after ten."""
Page = Callable[[bool], tuple[bytes, str]]


@dataclass
class _Peer:
    """A connection: what it has asked, what it is still to get, and until when."""

    end: socket.socket
    until_s: float
    asked: bytes = b""
    answer: memoryview | None = None


class Scrape:
    """Serves `page(openmetrics)` at PATH; `state()` is what the page is of: where it is the same object, the page is the same.

    Raises:
        DaemonError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, page: Page, state: Callable[[], object]) -> None:
        self._page, self._state = page, state
        self._made: dict[bool, tuple[object, bytes, str]] = {}
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family, backlog=MOST_PEERS)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise DaemonError(f"prometheus.port: {host}:{port}: {reason}; choose another port") from None
        self.port: int = self._listening.getsockname()[1]
        self._listening.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, _Peer] = {}
        self._thread = threading.Thread(target=self._serve, name="prometheus", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and every connection."""
        self._wake.close()
        self._thread.join()

    def _serve(self) -> None:
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while True:
            soonest_s = min((peer.until_s for peer in self._peers.values()), default=None)
            wait_s = None if soonest_s is None else max(0.0, soonest_s - time.monotonic())
            for key, _ in self._selector.select(wait_s):
                if key.fileobj is self._woken:
                    self._end()
                    return
                if key.fileobj is self._listening:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._attend(self._peers[key.fileobj])
            now_s = time.monotonic()
            for peer in [each for each in self._peers.values() if each.until_s <= now_s]:
                self._drop(peer)

    def _accept(self) -> None:
        try:
            end, _ = self._listening.accept()
        except OSError:  # it has left already, or there is no descriptor: it comes again
            return
        if len(self._peers) >= MOST_PEERS:
            self._drop(next(iter(self._peers.values())))  # the oldest gives way
        end.setblocking(False)
        self._peers[end] = _Peer(end, time.monotonic() + PATIENCE_S)
        self._selector.register(end, selectors.EVENT_READ)

    def _attend(self, peer: _Peer) -> None:
        try:
            if peer.answer is None:
                self._read(peer)
            if peer.answer is not None:
                peer.answer = peer.answer[peer.end.send(peer.answer) :]
                if not peer.answer:
                    with suppress(OSError):
                        peer.end.shutdown(socket.SHUT_WR)
                    self._drop(peer)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)

    def _read(self, peer: _Peer) -> None:
        more = peer.end.recv(MOST_REQUEST)
        peer.asked += more
        if not more or len(peer.asked) > MOST_REQUEST:
            raise ConnectionAbortedError
        if b"\r\n\r\n" in peer.asked or b"\n\n" in peer.asked:
            peer.answer = memoryview(self._answer(peer.asked))
            self._selector.modify(peer.end, selectors.EVENT_WRITE)

    def _answer(self, asked: bytes) -> bytes:
        lines = asked.decode("latin-1").splitlines()
        words = lines[0].split(" ") if lines else []
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"not HTTP/1\n")
        if words[0] != "GET":
            return _response("405 Method Not Allowed", b"only GET\n")
        if words[1].partition("?")[0] != PATH:
            return _response("404 Not Found", f"there is {PATH}\n".encode())
        accepts = [line for line in lines[1:] if line.lower().startswith("accept:")]
        try:
            body, kind = self._current(any("application/openmetrics-text" in line for line in accepts))
        except Exception:  # a page that cannot be made is a fault of ours, and ends no daemon
            log.exception("the page for Prometheus cannot be made")
            return _response("500 Internal Server Error", b"see the daemon's log\n")
        return _response("200 OK", body, kind)

    def _current(self, openmetrics: bool) -> tuple[bytes, str]:
        state = self._state()
        kept = self._made.get(openmetrics)
        if kept is None or kept[0] is not state:
            kept = self._made[openmetrics] = (state, *self._page(openmetrics))
        return kept[1], kept[2]

    def _drop(self, peer: _Peer) -> None:
        self._selector.unregister(peer.end)
        del self._peers[peer.end]
        peer.end.close()

    def _end(self) -> None:
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._selector.close()
        self._listening.close()
        self._woken.close()


def _response(status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + body
