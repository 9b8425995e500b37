"""What every request passes on its way in and out: id, log, metrics, token, bounded body."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpseg.serve import logs
from dpseg.serve.metrics import Metrics

#: Paths that need no token: the pages ask for it themselves, health checks carry none.
OPEN_PATHS = re.compile(
    r"/|/static/.*|/favicon\.ico|/healthz|/docs|/openapi\.json|/static-offline-docs/.*"
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
#: A client that sends too much is read this much further, so that it reads our answer.
_DRAINED = 4


def error_answer(
    status: int, kind: str, message: str, request_id: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Say in words what was wrong; the one shape of all error answers."""
    body = {"error": {"type": kind, "message": message, "request_id": request_id}}
    return JSONResponse(body, status, headers)


def request_id(scope: Scope) -> str:
    """Return the id that a request was given."""
    return str(scope.get("state", {}).get("request_id", ""))


class AccessLog:
    """Give each request an id, count it, log it; turn a crash into an answer without details."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        key = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = key
        start, status = time.monotonic(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = key
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            logs.event("crash", level=logging.ERROR, error=True, request_id=key)
            if not status:
                words = "something went wrong in the service; its log tells more."
                await error_answer(500, "InternalError", words, key)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            seconds = time.monotonic() - start
            self._metrics.request(scope["method"], route, status, seconds)
            logs.event(
                "request",
                request_id=key,
                method=scope["method"],
                route=route,
                status=status,
                seconds=round(seconds, 4),
                **scope["state"].get("log", {}),
            )


class RequireToken:
    """Refuse requests without the right bearer token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not OPEN_PATHS.fullmatch(scope["path"]):
            given = Headers(scope=scope).get("authorization", "").encode("latin-1")
            if not secrets.compare_digest(given, self._expected):
                answer = error_answer(
                    401,
                    "Unauthorized",
                    "this service asks for its token, as Authorization: Bearer TOKEN.",
                    request_id(scope),
                    {"WWW-Authenticate": "Bearer"},
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Bound the size of a request's body, and the time that it takes to arrive."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body behind a counter and a clock."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = time.monotonic() + self._seconds
        total, complete = 0, False

        async def arriving() -> Message:
            nonlocal total, complete
            try:
                left = max(0.0, deadline - time.monotonic())
                message = await asyncio.wait_for(receive(), left)
            except asyncio.TimeoutError as error:
                raise HTTPException(
                    408, f"the request did not arrive within {self._seconds:g} seconds."
                ) from error
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            return message

        async def bounded() -> Message:
            if complete:  # what comes now is the client's farewell; it has all the time
                return await receive()
            message = await arriving()
            if total > self._max_bytes:
                while not complete and total < _DRAINED * self._max_bytes:
                    await arriving()
                raise HTTPException(
                    413, f"the request is larger than {self._max_bytes / 1e6:g} MB."
                )
            return message

        await self._app(scope, bounded, send)
