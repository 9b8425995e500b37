"""The colour model with some common things in its vocabulary, so that distractors can win."""

from collections.abc import Sequence

from colour_engine import ColourEngine
from dpseg.engines.protocol import TextEmbedding

COLOUR_OF = {"grass": "green", "sky": "blue", "snow": "white"}


class CommonWords(ColourEngine):
    """Reads the name of a common thing as the name of its colour."""

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        return super().encode_text([_in_colours(sentence) for sentence in sentences])


def _in_colours(sentence: str) -> str:
    for thing, colour in COLOUR_OF.items():
        sentence = sentence.replace(thing, colour)
    return sentence
