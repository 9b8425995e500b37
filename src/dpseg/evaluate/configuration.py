"""What is compared: one row of a results table is one configuration of the same model."""

from __future__ import annotations

from dataclasses import dataclass

from dpseg.prompts.ontology import PromptKind
from dpseg.prompts.refine import RefineMode


@dataclass(frozen=True)
class Configuration:
    """One way to run the model.

    Attributes:
        name: heads the row.
        prompts: what speaks for a class.
        bank: whether classes get visual prompts from the bank.
        examples: whether the example pictures given to the evaluation are shown.
        refine: rounds of prompt refinement.
        refine_mode: where a refined prompt comes from.
        token_wise: whether token-wise costs take part.
        guidance: whether the visual cost volumes guide the decoder.
    """

    name: str
    prompts: PromptKind = "dual"
    bank: bool = True
    examples: bool = False
    refine: int = 0
    refine_mode: RefineMode = "pool"
    token_wise: bool = True
    guidance: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether no part of the network is switched off."""
        return self.token_wise and self.guidance


#: The rows that every results table has.
STANDARD = (
    Configuration("text", prompts="text"),
    Configuration("visual", prompts="visual"),
    Configuration("dual"),
    Configuration("dual, refined", refine=1),
    Configuration("dual, no tokens", token_wise=False),
    Configuration("dual, no guidance", guidance=False),
)

#: Two more where example pictures are at hand.
WITH_EXAMPLES = (
    Configuration("dual, examples", examples=True),
    Configuration("dual, examples, refined", examples=True, refine=1),
)
