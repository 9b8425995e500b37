"""A machine learning backend for Label Studio: it asks over HTTP, masks go back.

Label Studio sends tasks and the project's labelling interface to `/predict`. Images come from the
Label Studio server itself, from a folder that both see, or within the task; no other address is
ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from dpseg.errors import DPSegError, ImageError, require_extra
from dpseg.interop.label_studio import read_interface, to_prediction
from dpseg.segmenter import Segmenter

_LOCAL_FILES = "/data/local-files/"
_MAX_BYTES = 64 << 20
_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Where the images of tasks come from.

    Attributes:
        server: address of Label Studio, such as `http://localhost:8080`; None fetches nothing.
        token: access token of a Label Studio user.
        folder: what Label Studio's local file storage is rooted in; None reads no files.
    """

    server: str | None = None
    token: str | None = None
    folder: Path | None = None

    def load(self, address: str) -> bytes:
        """Get an image's bytes.

        Args:
            address: as a task has it: a path on the server, its whole address, or a `data:` URL.

        Raises:
            ImageError: the image cannot be had, or comes from somewhere else.
        """
        if address.startswith("data:"):
            return _embedded(address)
        parts = urlsplit(address)
        if parts.path.startswith(_LOCAL_FILES) and self.folder is not None:
            return _file(self.folder, unquote(parse_qs(parts.query).get("d", [""])[0]))
        if self.server is None:
            raise ImageError(f"{address} is not fetched: no address of Label Studio was given.")
        whole = urljoin(self.server, address)
        if _origin(whole) != _origin(self.server):
            raise ImageError(f"{address} is not fetched: it is not on {self.server}.")
        request = urllib.request.Request(whole)
        if self.token:
            request.add_header("Authorization", f"Token {self.token}")
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=_SECONDS) as answer:
                data: bytes = answer.read(_MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ImageError(f"{address} cannot be fetched: {error}.") from error
        if len(data) > _MAX_BYTES:
            raise ImageError(f"{address} is larger than {_MAX_BYTES:,} bytes.")
        return data


def label_studio_app(segmenter: Segmenter, pictures: Pictures, **options: Any) -> Any:
    """Make the backend.

    Args:
        segmenter: the model.
        pictures: where images come from.
        options: of `Segmenter.prepare`, but for names and examples.

    Returns:
        A FastAPI application.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    fastapi = require_extra("fastapi", "serve")
    app = fastapi.FastAPI(title="dpseg for Label Studio", docs_url=None, redoc_url=None)
    one_at_a_time = threading.Lock()
    version = f"{segmenter.info.name}-{segmenter.info.encoder_key[:8]}"

    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "dpseg"}

    def setup() -> dict[str, str]:
        return {"model_version": version}

    def nothing() -> dict[str, str]:
        return {}

    def predict(body: dict[str, Any] = fastapi.Body()) -> dict[str, Any]:  # noqa: B008
        try:
            interface = read_interface(str(body.get("label_config") or ""))
            answers = []
            with one_at_a_time:
                find = segmenter.prepare(interface.vocabulary, **options)
                for task in body.get("tasks") or []:
                    photo = pictures.load(str(task.get("data", {}).get(interface.variable, "")))
                    prediction = to_prediction(find(photo), interface)
                    answers.append({**prediction, "model_version": version})
        except DPSegError as error:
            raise fastapi.HTTPException(422, str(error)) from error
        return {"results": answers, "model_version": version}

    app.get("/")(health)
    app.get("/health")(health)
    app.post("/setup")(setup)
    app.post("/webhook")(nothing)
    app.post("/predict")(predict)
    return app


class _Stay(urllib.request.HTTPRedirectHandler):
    """Refuses to be sent elsewhere, so that the token reaches no other server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc


def _embedded(address: str) -> bytes:
    head, comma, body = address.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ImageError("the picture's data: URL is not base64.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ImageError(f"the picture's data: URL is damaged: {error}.") from error


def _file(folder: Path, name: str) -> bytes:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ImageError(f"{name} is not read: it is outside the folder of local files.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror or error}.") from error
