"""HTTP servers of video that stall, drop the connection, and come back."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn

import cv2
import numpy as np

Send = Callable[[bytes], None]
BOUNDARY = "frame"


class Server(ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    requests = 0


@contextmanager
def serving(kind: str, respond: Callable[[int, Send, threading.Event], None]) -> Iterator[tuple[str, Server]]:
    """Serve on the loopback; `respond` gets the number of the request (0, 1 …), a function that sends, and the end.

    A request for which `respond` raises `ConnectionRefusedError` is answered with an error.
    """
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def send(self, data: bytes) -> None:
            if self.wfile is not None and not self.begun:
                self.begun = True
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.begun = False
            number, server.requests = server.requests, server.requests + 1
            try:
                respond(number, self.send, over)
            except ConnectionRefusedError:
                self.send_error(503)
            except OSError:  # the reader has closed the connection
                pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/video", server
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


MJPEG = f"multipart/x-mixed-replace; boundary={BOUNDARY}"


def jpeg(level: int) -> bytes:
    """A gray frame as a part of an MJPEG stream."""
    data = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes()
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data + b"\r\n"
