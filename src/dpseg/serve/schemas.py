"""The shapes of the service's JSON answers, with examples for the OpenAPI page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dpseg.explain import Explanation, Vote
from dpseg.imaging.draw import palette
from dpseg.segmentation import Segmentation
from dpseg.serve.queue import QueueStatus
from dpseg.serve.settings import ServeSettings


class RunLengths(BaseModel):
    """A mask as COCO run lengths; `pycocotools.mask.decode` reads it."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class ClassAnswer(BaseModel):
    """One class of a result."""

    index: int = Field(description="its value in labels.png")
    name: str
    colour: str = Field(description="its colour in pictures", examples=["#5b86d6"])
    pixels: int
    area: float = Field(description="share of the photo, 0 to 1")
    count: int | None = Field(
        default=None, description="things; null for stuff or if not asked for"
    )
    presence: float | None = Field(
        default=None, description="probability that it is in the photo at all"
    )
    confidence: float | None = Field(description="mean score in its region; null if not found")
    box_xyxy: tuple[int, int, int, int] | None = Field(description="left, top, right, bottom")
    rle: RunLengths | None


class InstanceAnswer(BaseModel):
    """A single thing, or all that there is of some stuff."""

    index: int = Field(description="of its class")
    name: str
    thing: bool = Field(description="false for stuff")
    pixels: int
    area: float = Field(description="share of the photo, 0 to 1")
    score: float = Field(description="mean score of its class in it")
    box_xyxy: tuple[int, int, int, int] = Field(description="left, top, right, bottom")
    rle: RunLengths


class SegmentAnswer(BaseModel):
    """What was found in a photo."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "VdJ1mYzqkq0h3eWl7yXx0g",
                "width": 451,
                "height": 300,
                "unlabelled_area": 0.31,
                "seconds": 0.42,
                "classes": [
                    {
                        "index": 0,
                        "name": "cat",
                        "colour": "#4a86d4",
                        "pixels": 93357,
                        "area": 0.69,
                        "confidence": 0.97,
                        "box_xyxy": [12, 0, 451, 300],
                        "rle": {"size": [300, 451], "counts": "d6S3X7..."},
                    }
                ],
                "settings": {"model": "dpseg-lite", "refine_rounds": 0},
            }
        }
    )

    id: str = Field(description="under which the result is kept for a while")
    width: int
    height: int
    unlabelled_area: float
    seconds: float = Field(description="of work, without waiting")
    classes: list[ClassAnswer]
    instances: list[InstanceAnswer] | None = Field(
        default=None, description="single things; null if not asked for"
    )
    settings: dict[str, Any]

    @classmethod
    def of(cls, result: Segmentation, *, key: str, seconds: float) -> SegmentAnswer:
        """Describe a result; seconds is the time that it took."""
        summary = result.summary()
        colours = palette(max(1, len(result.classes)))
        for entry in summary["classes"]:
            entry["colour"] = "#{:02x}{:02x}{:02x}".format(*colours[entry["index"]])
        return cls(id=key, seconds=round(seconds, 3), **summary)


class VoteAnswer(BaseModel):
    """How similar a class's prompts are to a pixel: cosines, null where there is no such prompt."""

    name: str
    score: float = Field(description="0 to 1")
    text_prompt: float = Field(description="with the name in sentences")
    visual_prompt: float | None = Field(description="with the pictures")
    text_token: float | None = Field(description="with the word that fits best")
    visual_token: float | None = Field(description="with the part of the pictures that fits best")
    box: float | None = Field(
        description="score of the detector's surest box of it here, 0 to 1; null for other names"
    )

    @classmethod
    def of(cls, vote: Vote | None) -> VoteAnswer | None:
        """Round a vote for the wire."""
        if vote is None:
            return None
        fields = {name: getattr(vote, name) for name in cls.model_fields}
        rounded = {n: round(v, 4) if isinstance(v, float) else v for n, v in fields.items()}
        return cls.model_validate(rounded)


class ExplainAnswer(BaseModel):
    """Why a pixel got its label."""

    x: int
    y: int
    label: str | None = Field(description="null for an unlabelled pixel")
    winner: VoteAnswer | None
    runner_up: VoteAnswer | None
    distractor: VoteAnswer | None = Field(description="the best name that was not asked for")
    rival: VoteAnswer | None = Field(description="the same, by its earlier name", deprecated=True)
    negative: VoteAnswer | None = Field(description="the best name that is not wanted")

    @classmethod
    def of(cls, explanation: Explanation, x: int, y: int) -> ExplainAnswer:
        """Describe an explanation."""
        return cls(
            x=x,
            y=y,
            label=explanation.label,
            winner=VoteAnswer.of(explanation.winner),
            runner_up=VoteAnswer.of(explanation.runner_up),
            distractor=VoteAnswer.of(explanation.distractor),
            rival=VoteAnswer.of(explanation.distractor),
            negative=VoteAnswer.of(explanation.negative),
        )


class ProgressAnswer(BaseModel):
    """Where a request stands."""

    state: str = Field(description="`waiting`, `running`, or `unknown`: not here yet, or done")
    ahead: int = Field(default=0, description="requests that wait before it")
    seconds: float = Field(default=0, description="since it began to run, or to wait")
    expected_seconds: float | None = Field(default=None, description="what recent ones took")

    @classmethod
    def of(cls, standing: QueueStatus | None) -> ProgressAnswer:
        """Describe a standing."""
        if standing is None:
            return cls(state="unknown")
        expected = standing.expected_seconds
        return cls(
            state="running" if standing.running else "waiting",
            ahead=standing.ahead,
            seconds=round(standing.seconds, 2),
            expected_seconds=None if expected is None else round(expected, 2),
        )


class Limits(BaseModel):
    """The bounds of one request."""

    megabytes: float
    megapixels: float
    classes: int
    examples: int
    seconds: float

    @classmethod
    def of(cls, settings: ServeSettings) -> Limits:
        """Read the bounds out of the settings."""
        return cls(
            megabytes=settings.max_megabytes,
            megapixels=settings.max_megapixels,
            classes=settings.max_classes,
            examples=settings.max_examples,
            seconds=settings.timeout_seconds,
        )


class ModelAnswer(BaseModel):
    """A model that answers here."""

    name: str = Field(examples=["dpseg-lite"])
    image_size: int
    vocabularies: list[str] = Field(description="class lists that can be asked for by name")
    limits: Limits


class ErrorBody(BaseModel):
    """What was wrong."""

    type: str = Field(examples=["VocabularyError"])
    message: str = Field(examples=["class name 'cat' is given twice; names must differ"])
    request_id: str


class ErrorAnswer(BaseModel):
    """The answer to a request that cannot be met."""

    error: ErrorBody
