"""The application: routes, page, errors in words, and what every request passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dpseg import __version__
from dpseg.errors import DPSegError, ServiceBusyError
from dpseg.segmenter import Segmenter
from dpseg.serve.api import make_router
from dpseg.serve.middleware import AccessLog, BodyLimit, RequireToken, error_answer, request_id
from dpseg.serve.page import ContentPolicy, add_page
from dpseg.serve.queue import OverdueError
from dpseg.serve.results import ResultGoneError
from dpseg.serve.service import ClientGoneError, Service
from dpseg.serve.settings import ServeSettings, is_loopback

#: What a client that was refused should wait, in seconds.
_RETRY_AFTER = {"Retry-After": "2"}
#: The names by which browsers on this machine call it.
_LOOPBACK_NAMES = ["localhost", "127.0.0.1", "::1", "[::1]"]
#: A client that did not wait for its answer; nobody sees this status but the log.
_CLIENT_GONE = 499


def create_app(segmenter: Segmenter, settings: ServeSettings) -> FastAPI:
    """Make the application; see `dpseg.serve.create_app`."""
    service = Service(segmenter, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPIOffline(
        redoc_url=None,
        title="dpseg",
        version=__version__,
        description="Name it, or show it, and get its pixels.",
        lifespan=lifespan,
        middleware=_middleware(service),
    )
    # The middleware checks the token; this tells the OpenAPI page to ask for it.
    told = [Depends(HTTPBearer(auto_error=False))] if settings.token is not None else []
    app.include_router(make_router(service), dependencies=told)
    add_page(app)
    _add_error_answers(app)
    return app


def _middleware(service: Service) -> list[Middleware]:
    """List what a request passes, from the outside in."""
    settings = service.settings
    passed = [Middleware(AccessLog, metrics=service.metrics), Middleware(ContentPolicy)]
    if settings.token is not None:
        passed.append(Middleware(RequireToken, token=settings.token))
    elif is_loopback(settings.host):
        # A name of another machine here is a page from elsewhere that poses as this one.
        names = [*_LOOPBACK_NAMES, settings.host]
        passed.append(Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False))
    body = Middleware(BodyLimit, max_bytes=settings.max_bytes, seconds=settings.timeout_seconds)
    return [*passed, body]


def _add_error_answers(app: FastAPI) -> None:
    def answer(
        request: Request, status: int, error: Exception, headers: dict[str, str] | None = None
    ) -> Response:
        kind, key = type(error).__name__, request_id(request.scope)
        return error_answer(status, kind, " ".join(str(error).split()), key, headers)

    @app.exception_handler(DPSegError)
    async def ours(request: Request, error: DPSegError) -> Response:
        return answer(request, 422, error)

    @app.exception_handler(ResultGoneError)
    async def result_gone(request: Request, error: ResultGoneError) -> Response:
        return answer(request, 404, error)

    @app.exception_handler(ServiceBusyError)
    async def busy(request: Request, error: ServiceBusyError) -> Response:
        status = 503 if isinstance(error, OverdueError) else 429
        return answer(request, status, error, _RETRY_AFTER)

    @app.exception_handler(ClientGoneError)
    async def client_gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        key = request_id(request.scope)
        headers = dict(error.headers) if error.headers else None
        return error_answer(error.status_code, "RequestError", str(error.detail), key, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        words = "; ".join(
            f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()
        )
        key = request_id(request.scope)
        return error_answer(422, "RequestError", words, key)
