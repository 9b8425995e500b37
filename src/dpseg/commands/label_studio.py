"""`dpseg label-studio`: a backend that labels Label Studio's tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpseg.commands.common import Device


def label_studio(
    server: Annotated[
        str | None,
        typer.Option(envvar="LABEL_STUDIO_URL", help="Address of Label Studio, for its pictures."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="LABEL_STUDIO_API_KEY", help="Access token of a Label Studio user."),
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="Folder of Label Studio's local file storage.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9090,
    unlabelled: Annotated[
        bool, typer.Option(help="Leave pixels without a label where no name convinces.")
    ] = True,
    refine: Annotated[int, typer.Option(min=0, help="Rounds of prompt refinement.")] = 0,
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    device: Device = "auto",
) -> None:
    """Serve predictions to Label Studio; a project's labels are the names that are looked for."""
    from dpseg.errors import require_extra
    from dpseg.interop.label_studio_backend import Pictures, label_studio_app
    from dpseg.segmenter import Segmenter

    uvicorn = require_extra("uvicorn", "serve")
    pictures = Pictures(server=server, token=token, folder=files)
    segmenter = Segmenter.from_pretrained(model, device=device)
    app = label_studio_app(segmenter, pictures, unlabelled=unlabelled, refine=refine)
    uvicorn.run(app, host=host, port=port, log_level="warning")
