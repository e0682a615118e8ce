"""The HTTP server of the page."""

import logging
import socket
import tempfile
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from omegaconf import DictConfig
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actionrec.page import showing, uploads
from actionrec.page.guard import Guard, is_local
from actionrec.page.jobs import Job, Queue
from actionrec.page.looking import look
from actionrec.page.networks import Choice, Networks, find_runs
from actionrec.page.results import Results
from actionrec.settings.values import printable
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SECONDS = 600  # for receiving a file


class Page:
    """The answers to the page's requests.

    Args:
        config: of `conf/app.yaml`.
        folder: for files while they are predicted.
    """

    def __init__(self, config: DictConfig, folder: Path):
        self.config, self.folder = config, folder
        self.outputs = Path(config.paths.outputs)
        self.networks, self.results, self.queue = Networks(config), Results(), Queue()

    async def settings(self, request: Request) -> Response:
        """The runs, and the limits that the browser can check before it sends a file."""
        found = list(find_runs(self.outputs).values())
        runs = [{"key": each.key, "title": each.title} for each in found]
        newest = max(found, key=lambda each: each.ended).key if found else ""
        limits = {name: self.config[name] for name in ("max_megabytes", "max_seconds")}
        return JSONResponse({"runs": runs, "newest": newest, **limits})

    async def examples(self, request: Request) -> Response:
        """Test clips of a run, for which `predict` takes their number."""
        run = self._run(request).path
        found = await anyio.to_thread.run_sync(self.networks.examples, run)
        return JSONResponse([{"action": each.action, "picture": each.picture} for each in found])

    async def predict(self, request: Request) -> Response:
        """Predict the file that is the body of the request, or an example; the answer is that of `Queue.report`."""
        run = self._run(request)
        self.queue.check()
        sent = None
        if "example" in request.query_params:
            examples = await anyio.to_thread.run_sync(self.networks.examples, run.path)
            path = examples[self._number(request.query_params["example"], len(examples))].path
            name = path.name
        else:
            uploads.check_size(float(request.headers.get("content-length") or 0), self.config.max_megabytes)
            with anyio.fail_after(SECONDS):
                path = sent = await uploads.receive(request.stream(), self.folder, self.config.max_megabytes)
            name = Path(printable(request.query_params.get("name", ""), 100)).name or "the file"
        job = self.queue.start(lambda job: self._predict(run, path, name, job), sent)
        return StreamingResponse(self.queue.report(job), media_type="application/x-ndjson")

    def _predict(self, run: Choice, path: Path, name: str, job: Job) -> dict[str, Any]:
        try:
            found = look(path, self.networks.get(run.path), self.networks.lock, self.config, job.tick, job.begin)
        except ActionRecError as error:  # of the decoder, with the name under which the file is kept here
            raise ActionRecError(str(error).replace(str(path), name)) from None
        shown = {"name": name, "result": self.results.add(found), **showing.summary(found)}
        return {**shown, "view": showing.view(found, found.first)}

    async def view(self, request: Request) -> Response:
        """Another part of a result."""
        result = self.results.get(request.path_params["name"])
        if not result:
            raise ActionRecError("this result is not kept any more; send the clip again")
        part = request.path_params["part"]
        number = -1 if part == "whole" and result.whole else self._number(part, len(result.parts))
        return JSONResponse(await anyio.to_thread.run_sync(showing.view, result, number))

    def _run(self, request: Request) -> Choice:
        choices = find_runs(self.outputs)
        if (key := request.query_params.get("run", "")) not in choices:
            raise ActionRecError("there is no such network any more; reload the page")
        return choices[key]

    @staticmethod
    def _number(text: str, count: int) -> int:
        if not text.isdecimal() or int(text[:9]) >= count:
            raise ActionRecError("there is nothing under this number; reload the page")
        return int(text)


def create_app(config: DictConfig, folder: Path) -> Starlette:
    """The application; see `Page`."""
    page = Page(config, folder)
    routes = [
        *(Route(path, _static(name)) for path, name in FILES.items()),
        Route("/settings", page.settings),
        Route("/examples", page.examples),
        Route("/predict", page.predict, methods=["POST"]),
        Route("/results/{name}/{part}", page.view),
    ]
    errors: Any = {ActionRecError: _refuse, ClientDisconnect: _refuse, TimeoutError: _refuse}
    app = Starlette(routes=routes, middleware=[Middleware(Guard, host=config.host)], exception_handlers=errors)
    app.state.queue = page.queue
    return app


class _Server(uvicorn.Server):
    def handle_exit(self, *signal: Any) -> None:
        self.config.app.state.queue.stop()  # type: ignore[union-attr]  # uvicorn waits for answers before it ends
        super().handle_exit(*signal)


def serve(config: DictConfig) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Raises:
        ActionRecError: there is no run, or the address cannot be listened at.
    """
    outputs = Path(config.paths.outputs)
    if not find_runs(outputs):
        raise ActionRecError(f"no finished run under {outputs}; train one, for example: make demo")
    listening = listen(config.host, config.port)
    if not is_local(config.host):
        log.warning("host=%s: everyone who reaches this address may use the page; there is no password", config.host)
    with listening, uploads.containers_only(), tempfile.TemporaryDirectory(prefix="actionrec-") as folder:
        app = create_app(config, Path(folder))
        server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=3
            )
        )
        print(f"{address_of(listening)} (Ctrl-C ends it)", flush=True)
        server.run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ActionRecError: the port is in use, or the address is not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise ActionRecError(f"host={host} port={port}: {reason}; choose another port, or 0 for a free one") from None


def address_of(listening: socket.socket) -> str:
    """The address for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _static(name: str) -> Any:
    content, kind = (STATIC / name).read_bytes(), TYPES[Path(name).suffix]

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


async def _refuse(request: Request, error: Exception) -> Response:
    text = str(error) if isinstance(error, ActionRecError) else "the file did not arrive; send it again"
    return JSONResponse({"error": text}, 400)
