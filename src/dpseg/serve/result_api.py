"""The REST routes of a result that is kept: see it, ask why, take its corrections along."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from dpseg.segmentation import Segmentation
from dpseg.serve import images
from dpseg.serve.corrections import write_corrections
from dpseg.serve.schemas import ErrorAnswer, ExplainAnswer
from dpseg.serve.service import Service

#: Pictures to look at are at most this large.
MAX_SIDE = 4096

PNG, JPEG, BINARY = "image/png", "image/jpeg", "application/octet-stream"

_WRONG = {
    401: "The token is missing or wrong.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    422: "The photo, the names or the options cannot be used.",
    429: "Too many requests are waiting.",
    503: "The answer took too long, or the service is stopping.",
}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers to requests that cannot be met, by status."""
    return {code: {"model": ErrorAnswer, "description": _WRONG[code]} for code in codes}


def picture(kind: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route that gives a file of this media type."""
    return {
        200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}},
        404: {"model": ErrorAnswer, "description": "The result is no longer kept."},
        **errors(401, 429),
    }


Key = Annotated[str, Path(description="`id` of a result")]
Side = Annotated[int, Query(ge=1, le=MAX_SIDE, description="longest side in pixels")]


def make_result_router(service: Service) -> APIRouter:
    """Make the routes of kept results."""
    router = APIRouter()

    @router.get(
        "/v1/results/{key}/corrections",
        tags=["result"],
        summary="Get the corrections of a result as a file, for other photos",
        response_class=Response,
        responses={**picture(BINARY), **errors(422)},
    )
    async def corrections_of(request: Request, key: Key) -> Response:
        return Response(await service.make(request, key, write_corrections), media_type=BINARY)

    @router.get(
        "/v1/results/{key}/explain",
        tags=["result"],
        summary="Ask why a pixel got its label",
        responses={**errors(401, 422), 404: picture(PNG)[404]},
    )
    async def explain(
        request: Request,
        key: Key,
        x: Annotated[int, Query(description="column of the photo", examples=[120])],
        y: Annotated[int, Query(description="row of the photo", examples=[80])],
    ) -> ExplainAnswer:
        return await service.draw(
            request, key, lambda result: ExplainAnswer.of(result.explain(x, y), x, y)
        )

    @router.get(
        "/v1/results/{key}/overlay.png",
        tags=["result"],
        summary="Get the photo with colours, outlines and a legend",
        response_class=Response,
        responses=picture(PNG),
    )
    async def overlay(
        request: Request,
        key: Key,
        opacity: Annotated[float, Query(ge=0, le=1)] = 0.5,
        hidden: Annotated[
            list[int], Query(description="indices of classes to leave without colour")
        ] = [],  # noqa: B006 - FastAPI copies it
    ) -> Response:
        def draw(result: Segmentation) -> bytes:
            return images.overlay_png(result, opacity=opacity, hidden=hidden)

        data = await service.draw(request, key, draw)
        return Response(data, media_type=PNG)

    @router.get(
        "/v1/results/{key}/labels.png",
        tags=["result"],
        summary="Get the class index of each pixel",
        response_class=Response,
        responses=picture(PNG),
    )
    async def labels(request: Request, key: Key) -> Response:
        """255 is unlabelled. Above 255 classes it has 16 bits, and 65535 is unlabelled."""
        return Response(await service.draw(request, key, images.labels_png), media_type=PNG)

    @router.get(
        "/v1/results/{key}/index.png",
        tags=["result"],
        summary="Get the labels at a size to look at, for programs that draw",
        response_class=Response,
        responses=picture(PNG),
    )
    async def index(request: Request, key: Key, side: Side = 1600) -> Response:
        """Red + 256 green is the class index + 1; 0 is unlabelled."""
        data = await service.draw(request, key, lambda result: images.index_png(result, side=side))
        return Response(data, media_type=PNG)

    @router.get(
        "/v1/results/{key}/photo.jpg",
        tags=["result"],
        summary="Get the photo as it was understood",
        response_class=Response,
        responses=picture(JPEG),
    )
    async def photo(request: Request, key: Key, side: Side = 1600) -> Response:
        data = await service.draw(request, key, lambda result: images.photo_jpeg(result, side=side))
        return Response(data, media_type=JPEG)

    return router
