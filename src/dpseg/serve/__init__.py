"""The web page and the REST service, around one `Segmenter`.

`create_app` makes the application, for any ASGI server; `serve` runs it. Both need the extra
`serve`. Inside: `settings` bounds, `queue` the line in which requests stand, `results` what is kept
to be looked at and corrected, `api` and `result_api` the routes, `middleware` what every request
passes, `page` the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpseg.errors import require_extra
from dpseg.serve.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dpseg.segmenter import Segmenter

__all__ = ["ServeSettings", "create_app", "serve"]

_MODULES = ("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "uvicorn")


def create_app(segmenter: Segmenter, settings: ServeSettings | None = None) -> FastAPI:
    """Make the application: page, REST, health and metrics.

    Args:
        segmenter: what answers; used by `settings.concurrency` threads at once.
        settings: bounds and token; None for the usual ones.

    Returns:
        An ASGI application.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
    """
    _require()
    from dpseg.serve.app import create_app as create

    return create(segmenter, settings or ServeSettings())


def serve(model: str, settings: ServeSettings) -> None:
    """Load a model and serve it until the process is told to stop.

    Args:
        model: a preset's name, or a folder with weights.
        settings: where to listen, bounds and token.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        ServiceError: the address cannot be used.
        CheckpointError: there is no such model.
    """
    _require()
    from dpseg.serve.server import run

    run(model, settings)


def _require() -> None:
    for module in _MODULES:
        require_extra(module, "serve")
