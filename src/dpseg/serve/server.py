"""The process: bind, load, serve, and stop when told, with the answers that are under way given."""

from __future__ import annotations

import errno
import math
import signal
import socket
import sys

import numpy as np
import uvicorn

from dpseg.errors import ServiceError
from dpseg.segmenter import Segmenter
from dpseg.serve import logs
from dpseg.serve.app import create_app
from dpseg.serve.settings import ServeSettings

#: Open connections; more are answered with 503.
_MAX_CONNECTIONS = 256
_KEEP_ALIVE_SECONDS = 20


def run(model: str, settings: ServeSettings) -> None:
    """Serve until told to stop; see `dpseg.serve.serve`."""
    listener = _bind(settings)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # to be ended is no failure
        segmenter = Segmenter.from_pretrained(model, device=settings.device)
        segmenter(np.zeros((64, 64, 3), np.uint8), "thing")  # the first photo is slow
        logs.log_to_standard_error()
        config = uvicorn.Config(
            create_app(segmenter, settings),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.timeout_seconds),
        )
        address = _address(listener)
        logs.event("start", address=address, model=segmenter.info.name)
        listener.listen()  # whoever reads the next line may ask at once
        print(f"dpseg listens on {address}", flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        listener.close()
        logs.event("stop")


def _bind(settings: ServeSettings) -> socket.socket:
    """Take the address before the model is loaded, so that a wrong one is told at once."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        advice = " Choose another --port." if error.errno == errno.EADDRINUSE else ""
        raise ServiceError(
            f"cannot listen on {where}: {error.strerror or error}.{advice}"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
