"""Sentence templates: the M ways in which a class name is put to the text encoder."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from dpseg.errors import PromptError, require_extra

GAP = "{}"

#: One plain sentence, where many would take too long.
PLAIN_TEMPLATE = "a photo of a {}."

#: A few plain sentences, for small text towers that were trained on prose.
SHORT_TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a picture of the {}",
    "a {} in a scene",
)


def imagenet_templates() -> tuple[str, ...]:
    """List the 80 templates that CLIP models are evaluated with on ImageNet, in open_clip's order.

    Raises:
        MissingExtraError: open_clip is not installed.
    """
    open_clip = require_extra("open_clip", "clip")
    return tuple(template(GAP) for template in open_clip.OPENAI_IMAGENET_TEMPLATES)


def fill(template: str, words: str) -> str:
    """Put words into a template's gap.

    Args:
        template: a sentence with one `{}`.
        words: a class name or a synonym; underscores become spaces, letters of full
            width usual ones, braces stay as they are.

    Returns:
        The sentence.
    """
    plain = unicodedata.normalize("NFKC", words)  # letters of full width are no others
    return template.replace(GAP, " ".join(plain.replace("_", " ").split()))


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Refuse templates that have no gap or more than one.

    Args:
        templates: the sentences.

    Returns:
        The same, as a tuple.

    Raises:
        PromptError: there are none, or one has not exactly one `{}`.
    """
    if not templates:
        raise PromptError("no sentence templates were given; at least one is needed")
    for template in templates:
        if template.count(GAP) != 1:
            raise PromptError(
                f"template {template!r} has {template.count(GAP)} gaps; one is needed"
            )
    return tuple(templates)
