"""What is compared: one row of a results table is one configuration of the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from dpseg.engines.protocol import Engine
from dpseg.errors import DataError
from dpseg.inference.options import SegmentOptions

#: Every pixel gets one of the set's names, as labelled sets want it, by the model's own word.
EVERY_PIXEL = SegmentOptions(unlabelled=False, detector=False)

Joined: TypeAlias = Literal["average", "average_cost", "concatenate"]


@runtime_checkable
class ConfigurableEngine(Engine, Protocol):
    """An engine whose network can leave parts out."""

    def with_options(self, **changes: object) -> Engine:
        """Make an engine of the same model with other `ForwardOptions`."""


@dataclass(frozen=True)
class Configuration:
    """One way to run the model.

    Attributes:
        name: heads the row.
        options: what is asked; by default every pixel gets a class.
        bank: whether classes get visual prompts from the bank.
        examples: whether the examples given to the evaluation are shown.
        tuned: whether the tuned prompts given to the evaluation are used.
        token_wise: whether token-wise costs take part.
        guidance: what guides the decoder: visual cost volumes, or the enlarged cost volume.
        guidance_levels: levels j that are guided; None for all.
        joined: how text and picture are joined.
        decoder: False takes the cost volume alone.
    """

    name: str
    options: SegmentOptions = EVERY_PIXEL
    bank: bool = True
    examples: bool = False
    tuned: bool = False
    token_wise: bool = True
    guidance: Literal["visual", "upsampled"] = "visual"
    guidance_levels: tuple[int, ...] | None = None
    joined: Joined = "average"
    decoder: bool = True

    @property
    def forward(self) -> Mapping[str, object]:
        """Changes of the network's `ForwardOptions`; none for the whole network."""
        changes: dict[str, object] = {}
        if not self.token_wise:
            changes["token_wise"] = False
        if self.guidance != "visual":
            changes["guidance"] = self.guidance
        if self.guidance_levels is not None:
            changes["guidance_levels"] = self.guidance_levels
        if self.joined != "average":
            changes["strategy"] = self.joined
        if not self.decoder:
            changes["decoder"] = False
        return changes


#: The rows that every results table has; those with boxes only where a detector may speak.
STANDARD = (
    Configuration("text", EVERY_PIXEL.replace(prompts="text")),
    Configuration("visual", EVERY_PIXEL.replace(prompts="visual")),
    Configuration("dual"),
    Configuration("text, boxes", EVERY_PIXEL.replace(prompts="text", detector=True)),
    Configuration("dual, boxes", EVERY_PIXEL.replace(detector=True)),
    Configuration("dual, refined", EVERY_PIXEL.replace(refine=1)),
    Configuration("dual, no tokens", token_wise=False),
    Configuration("dual, no guidance", guidance_levels=()),
    Configuration("dual, no class prior", EVERY_PIXEL.replace(class_prior=False)),
    Configuration("dual, not snapped", EVERY_PIXEL.replace(snap=False)),
)

#: Two more where examples are at hand.
WITH_EXAMPLES = (
    Configuration("dual, examples", examples=True),
    Configuration("dual, examples, refined", EVERY_PIXEL.replace(refine=1), examples=True),
)

#: Another where tuned prompts are.
WITH_TUNED = (Configuration("dual, tuned", tuned=True),)

#: The rows where pixels may stay unlabelled and background is a class.
WITH_UNLABELLED = (
    Configuration("unlabelled on, no boxes", SegmentOptions(detector=False)),
    Configuration("unlabelled on", SegmentOptions()),
)


_RENAMED = {"dual, no scene": "dual, no class prior"}  # rows by their earlier names


def chosen(configurations: Sequence[Configuration], names: Sequence[str]) -> list[Configuration]:
    """Pick configurations by name, all for none.

    Raises:
        DataError: there is no such configuration; lists them.
    """
    known = [configuration.name for configuration in configurations]
    names = [_RENAMED.get(name, name) for name in names]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"no row {unknown[0]!r}; there are {', '.join(map(repr, known))}")
    return [one for one in configurations if not names or one.name in names]
