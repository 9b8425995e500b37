"""`dpseg serve`: the web page and the REST service."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from dpseg.commands.common import Device


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="DPSEG_TOKEN", help="What clients must send as a bearer token."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")
    ] = False,
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    device: Device = "auto",
    max_megabytes: Annotated[float, typer.Option(help="Size of a whole request.")] = 32,
    max_megapixels: Annotated[float, typer.Option(help="Size of each picture.")] = 25,
    max_classes: Annotated[int, typer.Option(help="Names in one request.")] = 1000,
    max_examples: Annotated[int, typer.Option(help="Example pictures in one request.")] = 20,
    concurrency: Annotated[int, typer.Option(help="Photos segmented at the same time.")] = 1,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more get 429.")] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = 60,
) -> None:
    """Serve the web page and the REST interface; on this machine alone unless told otherwise."""
    from dpseg.serve import ServeSettings
    from dpseg.serve import serve as run
    from dpseg.vocabulary import NameWarning

    warnings.simplefilter("ignore", NameWarning)  # what is asked is the client's affair
    settings = ServeSettings(
        host=host,
        port=port,
        token=token,
        insecure=insecure,
        device=device,
        max_megabytes=max_megabytes,
        max_megapixels=max_megapixels,
        max_classes=max_classes,
        max_examples=max_examples,
        concurrency=concurrency,
        queue=queue,
        timeout_seconds=timeout,
    )
    run(model, settings)
