"""`actionrec app`: a page on which videos are predicted in a browser."""

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.system.errors import ActionRecError


def app(config: DictConfig) -> None:
    """Serve the page until it is stopped by SIGINT, which is its usual end, or SIGTERM.

    Raises:
        ActionRecError: the packages of the extra `app` are missing, there is no run, or the port is in use.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise ActionRecError("the page needs packages: pip install 'actionrec[app]'") from None
    from actionrec.page.server import serve

    try:
        serve(config)
    except KeyboardInterrupt:
        return


main = command("app")(app)
