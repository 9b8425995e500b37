"""The REST routes: ask, look at what was found, ask why, and see how the service does."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from dpseg import __version__
from dpseg.inference.negatives import read_negatives
from dpseg.inference.options import SegmentOptions, split_names
from dpseg.prompts.prompt_set import PromptMode
from dpseg.prompts.refine import RefineMode
from dpseg.segmentation import Segmentation
from dpseg.serve import images
from dpseg.serve.corrections import CorrectionsBody
from dpseg.serve.requests import SegmentRequest, check_counts, read_classes, read_examples
from dpseg.serve.result_api import PNG, Key, errors, make_result_router, picture
from dpseg.serve.schemas import (
    Limits,
    ModelAnswer,
    ProgressAnswer,
    SegmentAnswer,
)
from dpseg.serve.service import Service
from dpseg.vocabulary import builtin_names

#: Rounds of refinement that one request may ask for.
MAX_REFINE = 5


def make_router(service: Service) -> APIRouter:
    """Make the routes of a service."""
    router = APIRouter()
    router.include_router(make_result_router(service))

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
            **errors(401, 408, 413, 422, 429, 503),
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
        corrections: Annotated[
            UploadFile | None, File(description="what was said of other photos, as saved")
        ] = None,
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
        language: Annotated[
            str, Form(description="of the names, such as `fr`; `en` takes them as they are")
        ] = "auto",
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
            corrections=None if corrections is None else await corrections.read(),
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
                language=language,
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

    @router.post(
        "/v1/results/{key}/corrections",
        tags=["segment"],
        summary="Say what places of a result are, or are not, and get it anew",
        responses={**errors(401, 422, 429, 503), 404: picture(PNG)[404]},
    )
    async def correct(request: Request, key: Key, body: CorrectionsBody) -> SegmentAnswer:
        """The photo is not sent or looked at again; what looks like a place follows it.

        The answer is a result of its own. The one before is kept: to undo is to go back to it.
        """

        def write(key: str, result: Segmentation, seconds: float) -> SegmentAnswer:
            return SegmentAnswer.of(result, key=key, seconds=seconds)

        return await service.correct(request, key, body.corrections, write)

    @router.get(
        "/v1/progress/{request_id}",
        tags=["segment"],
        summary="See where a request stands",
        responses=errors(401),
    )
    async def progress(
        request_id: Annotated[str, Path(description="what was sent as `X-Request-Id`")],
    ) -> ProgressAnswer:
        return ProgressAnswer.of(service.photos.standing(request_id))

    @router.get("/v1/models", tags=["service"], summary="List the models", responses=errors(401))
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
        responses={200: {"content": {"text/plain": {}}}, **errors(401)},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
