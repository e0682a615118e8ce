"""A page's server in a thread of this process, and requests to it."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from omegaconf import DictConfig

from actionrec.page.server import create_app, listen


@contextmanager
def served(config: DictConfig, folder: Path) -> Iterator[int]:
    """Serve the page; gives the port."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(config, folder), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(
    port: int, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}, method: str | None = None
) -> http.client.HTTPResponse:
    """The answer to a request, read to its end, as `text`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers))
    answer = connection.getresponse()
    answer.text = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


def predict(port: int, body: bytes, **query: str) -> tuple[int, dict[str, Any]]:
    """Status and last line of a prediction."""
    answer = ask(port, "/predict?" + urlencode(query), body)
    return answer.status, json.loads(answer.text.splitlines()[-1])  # type: ignore[attr-defined]
