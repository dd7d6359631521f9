"""A page that puts a browser to work, and the WebSocket that it talks to.

Owns what the browser is asked to do. Refuses to know how it gets here.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.recording_upstream import RecordingUpstream

IMAGES = 100
"""How many small images the page has."""

IMAGE = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'

SCRIPT = """
const images = [...document.images];
const loaded = images.map(image => new Promise((done, failed) => {
  if (image.complete && image.naturalWidth) done();
  image.onload = done;
  image.onerror = failed;
}));
const big = "x".repeat(1000000);
// A browser speaks WebSocket over HTTP/2 only where it has such a connection already.
const known = fetch("https://ws.test/", {mode: "no-cors", credentials: "include"});
const echo = new Promise(async (done, failed) => {
  await known.catch(() => {});
  const socket = new WebSocket("wss://ws.test/echo");
  socket.onopen = () => socket.send(big);
  socket.onerror = () => failed("websocket");
  socket.onmessage = message => done(message.data === big);
});
Promise.all([...loaded, echo]).then(
  done => {
    const used = performance.getEntriesByType("resource")
      .filter(entry => entry.name.includes("/image/")).map(entry => entry.nextHopProtocol);
    const told = `images=${used.length}&by=${[...new Set(used)]}&echo=${done[done.length - 1]}`;
    return fetch(`/told?${told}`);
  },
  why => fetch(`/told?failed=${why}`));
"""


def _answer(content_type: bytes, content: bytes) -> bytes:
    fields = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(content))
    return b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (fields, content)


def page_upstream() -> RecordingUpstream:
    """An upstream with the page at ``/``; what the browser finds out it tells at ``/told``."""
    images = "".join(f'<img src="/image/{number}">' for number in range(IMAGES))
    page = f"<!doctype html><title>a page</title>{images}<script>{SCRIPT}</script>"
    upstream = RecordingUpstream(_answer(b"image/svg+xml", IMAGE))
    upstream.answers[b"/"] = _answer(b"text/html; charset=utf-8", page.encode())
    return upstream


class EchoServer:
    """A WebSocket that says what it hears, at ``address``."""

    def __init__(self) -> None:
        self._server: Server = serve(_echo, "127.0.0.1", 0, max_size=1 << 25)
        self.address = f"127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._thread.join(5)


def _echo(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)
