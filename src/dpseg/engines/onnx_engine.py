"""The onnxruntime engine: `dpseg.engines.protocol.Runtime` on exported graphs, without torch.

Each graph is loaded at its first use, so that a question whose prompts are all known never loads
the text tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dpseg.arrays import AnyArray, FloatArray, ImageArray, PromptSet, to_tensors
from dpseg.encoders.tokens import CLIP_TOKENS, MAX_TOKENS, SentenceTokenizer
from dpseg.engines.devices import onnx_providers
from dpseg.engines.onnx_files import (
    IMAGE_FILE,
    MODEL_FILE,
    PROMPT_FILE,
    SCORE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_KEY,
    clip_name,
    graph_name,
    holds_clip,
    holds_lite,
    info_from,
)
from dpseg.engines.onnx_session import metadata_of, open_session
from dpseg.engines.protocol import ImageFeatures, ModelInfo, TextEmbedding
from dpseg.errors import CheckpointError, ShapeError
from dpseg.files import hash_file


class OnnxEngine:
    """Run the graphs that `dpseg export` wrote.

    Args:
        folder: holds the graphs and the tokenizer.
        threads: how many threads to use; None for `OMP_NUM_THREADS`, else one a processor.
        device: where to run them; see `split_device`.

    Raises:
        CheckpointError: a file is missing or damaged.
        DeviceError: the device is not there.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, device: str = "auto") -> None:
        self._folder = folder
        self._device = device
        self._is_clip = holds_clip(folder) and not holds_lite(folder)
        self._providers = onnx_providers(device)
        self._threads = threads
        self._exported = info_from(metadata_of(self._image), folder / self._name(IMAGE_FILE))
        self._info = self._exported

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the folder: another process loads the graphs anew."""
        where = self._folder.absolute()
        return partial(type(self), where, threads=self._threads, device=self._device), ()

    @property
    def info(self) -> ModelInfo:
        """Tell what the product must know of the model."""
        return self._info

    def calibrated(self, threshold: float) -> OnnxEngine:
        """Make an engine of the same model with another `info.score_threshold`."""
        other = copy(self)
        other._info = replace(self._info, score_threshold=threshold)
        return other

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        """Embed N sentences in the joint space."""
        split = self._tokenizer(sentences)
        dimension = self._text.get_outputs()[0].shape[-1]
        whole = np.zeros((len(split.ids), dimension), np.float32)
        tokens = np.zeros((*split.ids.shape, dimension), np.float32)
        for rows, batch in split.batches():
            given = {"ids": batch.ids, "attention": batch.attention}
            whole[rows], tokens[rows, : batch.ids.shape[1]] = self._text.run(None, given)
        return TextEmbedding(class_wise=whole, token_wise=tokens, token_mask=split.words)

    def encode_image(self, image: ImageArray) -> ImageFeatures:
        """Embed an RGB picture, H W 3, both sides multiples of the stride.

        Raises:
            ShapeError: a side is no multiple of the stride.
        """
        stride = self.info.stride
        if image.shape[0] % stride or image.shape[1] % stride:
            raise ShapeError(f"image is {image.shape[:2]}; sides must be multiples of {stride}")
        return self._seen(self._image, image)

    def encode_prompt(self, image: ImageArray) -> ImageFeatures:
        """Embed a prompt picture, by the image tower unless the prompt encoder is another."""
        if not (self._folder / self._name(PROMPT_FILE)).is_file():
            return self.encode_image(image)
        return self._seen(self._prompt, image)

    def _seen(self, session: onnxruntime.InferenceSession, image: ImageArray) -> ImageFeatures:
        embedding, *rest = session.run(None, {"image": np.ascontiguousarray(image)})
        levels = dict(zip(self.info.levels, rest, strict=False))
        return ImageFeatures(embedding, levels, *rest[len(levels) :])

    def score(self, features: ImageFeatures, prompts: PromptSet[AnyArray]) -> FloatArray:
        """Score K classes at each position: logits, K h' w' at stride 4."""
        given = {graph_name(n): a for n, a in (to_tensors(features) | prompts.to_tensors()).items()}
        wanted = [one.name for one in self._score.get_inputs()]  # a network may not need all
        logits: FloatArray = self._score.run(
            None, {name: np.ascontiguousarray(given[name]) for name in wanted}
        )[0]
        return logits

    @cached_property
    def _image(self) -> onnxruntime.InferenceSession:
        return self._session(IMAGE_FILE)

    @cached_property
    def _prompt(self) -> onnxruntime.InferenceSession:
        return self._companion(PROMPT_FILE)

    @cached_property
    def _text(self) -> onnxruntime.InferenceSession:
        return self._companion(TEXT_FILE)

    @cached_property
    def _score(self) -> onnxruntime.InferenceSession:
        return self._companion(SCORE_FILE)

    @cached_property
    def _tokenizer(self) -> SentenceTokenizer:
        path = self._folder / self._name(TOKENIZER_FILE)
        return SentenceTokenizer(path, max_tokens=CLIP_TOKENS if self._is_clip else MAX_TOKENS)

    def _name(self, lite_name: str) -> str:
        return clip_name(lite_name) if self._is_clip else lite_name

    @cached_property
    def _weights(self) -> str | None:
        path = self._folder / MODEL_FILE
        return hash_file(path) if path.is_file() else None

    def _companion(self, name: str) -> onnxruntime.InferenceSession:
        """Load a graph, and refuse one of another model than the image tower's."""
        session, path = self._session(name), self._folder / self._name(name)
        found = info_from(metadata_of(session), path)
        if found != self._exported:
            raise CheckpointError(
                f"{path} belongs to encoder {found.encoder_key}, {self._name(IMAGE_FILE)} to "
                f"{self.info.encoder_key}; export the model again"
            )
        return session

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        """Load a graph, and refuse one of other weights than those that lie beside it."""
        path = self._folder / self._name(name)
        session = open_session(path, self._threads, self._providers)
        made_of = metadata_of(session).get(WEIGHTS_KEY)
        if made_of and self._weights and made_of != self._weights:
            raise CheckpointError(
                f"{path} was exported from another {MODEL_FILE} than the one beside it; "
                "export the model again"
            )
        return session
