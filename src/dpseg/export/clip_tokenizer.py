"""CLIP's byte-pair tokenizer as a `tokenizer.json`, which reads without torch and open_clip."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Replace, Sequence, Strip
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.processors import TemplateProcessing

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_START, _END = "<start_of_text>", "<end_of_text>"


def clip_tokenizer(simple: Any) -> Tokenizer:
    """Write open_clip's `SimpleTokenizer` as one of the tokenizers library.

    Args:
        simple: open_clip's tokenizer.

    Returns:
        A tokenizer that puts a start and an end around at most `context_length` tokens.
    """
    tokenizer = Tokenizer(
        BPE(
            vocab=dict(simple.encoder),
            merges=sorted(simple.bpe_ranks, key=simple.bpe_ranks.__getitem__),
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.normalizer = Sequence([NFC(), Replace(Regex(r"\s+"), " "), Strip(), Lowercase()])
    tokenizer.pre_tokenizer = Steps(
        [
            Split(Regex(_WORDS), behavior="removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    ids = [(name, simple.encoder[name]) for name in (_START, _END)]
    tokenizer.post_processor = TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=ids)
    tokenizer.enable_truncation(simple.context_length)
    return tokenizer
