"""The REST routes: ask, look at what was found, ask why, and see how the service does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from dpseg import __version__
from dpseg.inference.negatives import read_negatives
from dpseg.inference.options import SegmentOptions, split_names
from dpseg.prompts.prompt_set import PromptMode
from dpseg.prompts.refine import RefineMode
from dpseg.segmentation import Segmentation
from dpseg.serve import images
from dpseg.serve.requests import SegmentRequest, check_counts, read_classes, read_examples
from dpseg.serve.schemas import (
    ErrorAnswer,
    ExplainAnswer,
    Limits,
    ModelAnswer,
    ProgressAnswer,
    SegmentAnswer,
)
from dpseg.serve.service import Service
from dpseg.vocabulary import builtin_names

#: Rounds of refinement that one request may ask for.
MAX_REFINE = 5
#: Pictures to look at are at most this large.
MAX_SIDE = 4096

PNG, JPEG = "image/png", "image/jpeg"

_WRONG = {
    401: "The token is missing or wrong.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    422: "The photo, the names or the options cannot be used.",
    429: "Too many requests are waiting.",
    503: "The answer took too long, or the service is stopping.",
}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorAnswer, "description": _WRONG[code]} for code in codes}


def _picture(kind: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}},
        404: {"model": ErrorAnswer, "description": "The result is no longer kept."},
        **_errors(401, 429),
    }


Key = Annotated[str, Path(description="`id` of a result")]
Side = Annotated[int, Query(ge=1, le=MAX_SIDE, description="longest side in pixels")]


def make_router(service: Service) -> APIRouter:
    """Make the routes of a service."""
    router = APIRouter()

    @router.post(
        "/v1/segment",
        tags=["segment"],
        summary="Segment a photo",
        response_model=SegmentAnswer,
        responses={
            200: {
                "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
                "description": "The result; with `answer` a PNG, its id in `X-Result-Id`.",
            },
            **_errors(401, 408, 413, 422, 429, 503),
        },
    )
    async def segment(
        request: Request,
        image: Annotated[UploadFile, File(description="the photo, in any usual format")],
        classes: Annotated[
            list[str],
            Form(
                description="names by commas, or repeated; `car|automobile` is one class",
                examples=[["car|automobile, road, sky"]],
            ),
        ] = [],  # noqa: B006 - FastAPI copies it
        not_classes: Annotated[
            list[str],
            Form(description="names that compete and are never shown, by commas, or repeated"),
        ] = [],  # noqa: B006
        vocabulary: Annotated[
            str, Form(description=f"a built-in list: {', '.join(builtin_names())}")
        ] = "",
        examples: Annotated[list[UploadFile], File(description="example pictures")] = [],  # noqa: B006
        example_classes: Annotated[
            list[str],
            Form(description="the class of each example, in the same order", examples=[["mascot"]]),
        ] = [],  # noqa: B006
        example_masks: Annotated[
            list[UploadFile], File(description="masks, brighter or more opaque where the thing is")
        ] = [],  # noqa: B006
        mask_of: Annotated[
            list[int], Form(description="the example, from 0, that each mask belongs to")
        ] = [],  # noqa: B006
        refine: Annotated[
            int, Form(ge=0, le=MAX_REFINE, description="rounds of refinement at most")
        ] = 0,
        refine_mode: Annotated[RefineMode, Form()] = "pool",
        unlabelled: Annotated[
            bool, Form(description="leave pixels without a label where no name convinces")
        ] = True,
        detector: Annotated[
            bool, Form(description="let the model's detector speak for the names that it knows")
        ] = True,
        snap: Annotated[
            bool, Form(description="let outlines follow the edges that the photo shows")
        ] = True,
        things: Annotated[bool, Form(description="part each class into single things")] = False,
        stuff: Annotated[
            list[str], Form(description="names that are never parted, in place of built-in ones")
        ] = [],  # noqa: B006
        min_presence: Annotated[
            float,
            Form(ge=0, le=1, description="leave out names that are less probably in the photo"),
        ] = 0.0,
        prompts: Annotated[PromptMode, Form(description="names, pictures, or both")] = "dual",
        answer: Annotated[
            Literal["json", "labels", "overlay"],
            Query(description="JSON, the label map as PNG, or a picture to look at as PNG"),
        ] = "json",
    ) -> Response:
        """Find the pixels of named and shown things.

        Names come in `classes` or as a `vocabulary`; pictures in `examples`, each with its class
        in `example_classes`. A class that only pictures tell of needs no entry in `classes`.
        """
        asked = SegmentRequest(
            photo=await image.read(),
            classes=read_classes(classes, vocabulary),
            not_classes=read_negatives(not_classes),
            examples=read_examples(
                [await file.read() for file in examples],
                example_classes,
                [await file.read() for file in example_masks],
                mask_of,
            ),
            options=SegmentOptions(
                refine=refine,
                refine_mode=refine_mode,
                unlabelled=unlabelled,
                detector=detector,
                prompts=prompts,
                snap=snap,
                things=things,
                stuff=split_names(stuff),
                min_presence=min_presence,
            ),
        )
        check_counts(asked, service.settings)
        request.state.log = {
            "bytes": len(asked.photo),
            "classes": len(asked.classes or ()),
            "examples": len(asked.examples),
            "refine": refine,
        }

        def write(key: str, result: Segmentation, seconds: float) -> Response:
            head = {"X-Result-Id": key}
            if answer == "labels":
                return Response(images.labels_png(result), media_type=PNG, headers=head)
            if answer == "overlay":
                drawn = images.overlay_png(result, opacity=0.5)
                return Response(drawn, media_type=PNG, headers=head)
            body = SegmentAnswer.of(result, key=key, seconds=seconds)
            return Response(body.model_dump_json(), media_type="application/json", headers=head)

        return await service.segment(request, asked, write)

    @router.get(
        "/v1/progress/{request_id}",
        tags=["segment"],
        summary="See where a request stands",
        responses=_errors(401),
    )
    async def progress(
        request_id: Annotated[str, Path(description="what was sent as `X-Request-Id`")],
    ) -> ProgressAnswer:
        return ProgressAnswer.of(service.photos.standing(request_id))

    @router.get(
        "/v1/results/{key}/explain",
        tags=["result"],
        summary="Ask why a pixel got its label",
        responses={**_errors(401, 422), 404: _picture(PNG)[404]},
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
        responses=_picture(PNG),
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
        responses=_picture(PNG),
    )
    async def labels(request: Request, key: Key) -> Response:
        """255 is unlabelled. Above 255 classes it has 16 bits, and 65535 is unlabelled."""
        return Response(await service.draw(request, key, images.labels_png), media_type=PNG)

    @router.get(
        "/v1/results/{key}/index.png",
        tags=["result"],
        summary="Get the labels at a size to look at, for programs that draw",
        response_class=Response,
        responses=_picture(PNG),
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
        responses=_picture(JPEG),
    )
    async def photo(request: Request, key: Key, side: Side = 1600) -> Response:
        data = await service.draw(request, key, lambda result: images.photo_jpeg(result, side=side))
        return Response(data, media_type=JPEG)

    @router.get("/v1/models", tags=["service"], summary="List the models", responses=_errors(401))
    async def models() -> list[ModelAnswer]:
        info = service.segmenter.info
        return [
            ModelAnswer(
                name=info.name,
                image_size=info.image_size,
                vocabularies=list(builtin_names()),
                limits=Limits.of(service.settings),
            )
        ]

    @router.get("/healthz", tags=["service"], summary="Tell whether the service is up")
    async def healthz() -> JSONResponse:
        return JSONResponse(
            {"status": "ok", "model": service.segmenter.info.name, "version": __version__}
        )

    @router.get(
        "/metrics",
        tags=["service"],
        summary="Get metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **_errors(401)},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
