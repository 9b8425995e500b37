"""The product in one object: photo + names + example pictures -> `Segmentation`.

It checks what it is given and puts it in order for the pipeline. It talks numpy to a `Engine` and
does not know which engine runs the model.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from dpseg.arrays import FloatArray, LabelArray
from dpseg.engines.protocol import Engine, ModelInfo
from dpseg.errors import CheckpointError, PromptError
from dpseg.imaging.photo import PhotoLike
from dpseg.imaging.tiling import DEFAULT_RULES, TilingRules, View, merge_labels
from dpseg.inference.distractors import DEFAULT_UNLABELLED, UnlabelledRules
from dpseg.inference.finder import Finder
from dpseg.inference.predictor import EncodedExamples, Pipeline, Question
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.examples import PictureLike
from dpseg.prompts.ontology import PromptMode
from dpseg.prompts.refine import RefineMode
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import ExemplarSource
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import ClassEntry, Vocabulary

if TYPE_CHECKING:
    from dpseg.factory.load import EngineName

Classes: TypeAlias = "Sequence[str | ClassEntry] | str | Vocabulary"
Examples: TypeAlias = "Mapping[str, Sequence[PictureLike]]"
Tuned: TypeAlias = "TunedPrompts | str | os.PathLike[str]"


class Segmenter:
    """Finds the pixels of named or shown things in photos.

    Args:
        engine: the loaded model.
        bank: visual prompts of many names; without one, names have text prompts only.
        cache: where prompt embeddings are kept between runs; None for the usual folder.
        tiling: when and how large photos are cut into tiles.
        unlabelled_rules: how readily pixels are left unlabelled.
    """

    def __init__(
        self,
        engine: Engine,
        bank: PromptBank | None = None,
        *,
        cache: PromptCache | None = None,
        tiling: TilingRules = DEFAULT_RULES,
        unlabelled_rules: UnlabelledRules = DEFAULT_UNLABELLED,
    ) -> None:
        self._name: str | None = None
        self._pipeline = Pipeline(
            engine,
            bank,
            cache=cache or PromptCache(),
            tiling=tiling,
            unlabelled_rules=unlabelled_rules,
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = "dpseg-lite",
        *,
        revision: str | None = None,
        engine: EngineName | None = None,
    ) -> Segmenter:
        """Load a model and its prompt bank.

        Args:
            name_or_folder: a preset's name, a folder with weights, or `owner/model` on the
                Hugging Face hub.
            revision: a branch, tag or commit on the hub.
            engine: `"onnx"` or `"torch"`; None takes onnxruntime where the model was exported, as
                the shipped one was, else torch.

        Returns:
            A segmenter that is ready to run.

        Raises:
            CheckpointError: there are no such weights, or they are damaged.
            MissingExtraError: the model needs an extra that is not installed.
        """
        from dpseg.factory.hub import resolve
        from dpseg.factory.load import load_engine

        name = resolve(os.fspath(name_or_folder), revision=revision)
        segmenter = cls(*load_engine(name, engine=engine))
        segmenter._name = name
        return segmenter

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, notes: str = "", source: str | None = None
    ) -> Path:
        """Copy the model's files into a folder that `from_pretrained` reads, with a model card.

        Args:
            folder: made if it is not there.
            notes: what the card says of data, figures and failures, as Markdown.
            source: what the card tells to load; None for the folder's name.

        Returns:
            The folder.

        Raises:
            CheckpointError: this segmenter was not loaded from files.
            DataError: the folder cannot be written.
        """
        from dpseg.factory.hub import save_model
        from dpseg.factory.load import model_files

        files = model_files(self._name) if self._name else []
        if not files:
            raise CheckpointError("only a model that was loaded from files can be saved.")
        return save_model(files, Path(folder), info=self.info, source=source, notes=notes)

    def push_to_hub(self, name: str, *, private: bool = False, notes: str = "") -> str:
        """Send the model and a model card to the Hugging Face hub.

        Args:
            name: `owner/model`; made if it is not there.
            private: who may see it, if it is made.
            notes: what the card says of data, figures and failures, as Markdown.

        Returns:
            The address of the commit.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
            CheckpointError: the hub refuses it, or this segmenter was not loaded from files.
        """
        from dpseg.factory.hub import upload

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, notes=notes, source=name)
            return upload(Path(folder), name, private=private)

    @property
    def info(self) -> ModelInfo:
        """Tell what the loaded model is."""
        return self._pipeline.engine.info

    @overload
    def __call__(
        self,
        photo: list[Any] | tuple[Any, ...],
        classes: Classes = ...,
        *,
        examples: Examples | None = ...,
        refine: int = ...,
        refine_mode: RefineMode = ...,
        unlabelled: bool = ...,
        prompts: PromptMode = ...,
        tuned: Tuned | None = ...,
    ) -> list[Segmentation]: ...

    @overload
    def __call__(
        self,
        photo: PhotoLike,
        classes: Classes = ...,
        *,
        examples: Examples | None = ...,
        refine: int = ...,
        refine_mode: RefineMode = ...,
        unlabelled: bool = ...,
        prompts: PromptMode = ...,
        tuned: Tuned | None = ...,
    ) -> Segmentation: ...

    def __call__(
        self,
        photo: PhotoLike | list[Any] | tuple[Any, ...],
        classes: Classes = (),
        *,
        examples: Examples | None = None,
        refine: int = 0,
        refine_mode: RefineMode = "pool",
        unlabelled: bool = True,
        prompts: PromptMode = "dual",
        tuned: Tuned | None = None,
    ) -> Segmentation | list[Segmentation]:
        """Segment a photo, or several.

        Args:
            photo: a path, a file's bytes, a PIL picture or an array H W 3; or a list of these.
            classes: what to look for; `"car|automobile"` gives synonyms, one string is split at
                commas.
            examples: pictures of a class, by its name; a name that `classes` lacks is added.
            refine: at most this many rounds in which what was found becomes its own prompt.
            refine_mode: `"pool"` reads the prompts from the features of the photo, `"crop"` cuts
                regions out and encodes them again.
            unlabelled: leave pixels without a label where nothing that was named convinces;
                False makes every pixel one of the classes.
            prompts: what speaks for a class: its name, its pictures, or both.
            tuned: prompts that `dpseg tune` fitted to labelled pictures, or their file; they
                outrank names and pictures of the classes that they hold.

        Returns:
            A result, or a list of results for a list of photos.

        Raises:
            ImageError: a photo cannot be used.
            VocabularyError: the names cannot be used.
            PromptError: an example picture cannot be used, or `refine` is negative.
        """
        find = self.prepare(
            classes,
            examples=examples,
            refine=refine,
            refine_mode=refine_mode,
            unlabelled=unlabelled,
            prompts=prompts,
            tuned=tuned,
        )
        return [find(one) for one in photo] if isinstance(photo, (list, tuple)) else find(photo)

    def prepare(
        self,
        classes: Classes = (),
        *,
        examples: Examples | None = None,
        refine: int = 0,
        refine_mode: RefineMode = "pool",
        unlabelled: bool = True,
        prompts: PromptMode = "dual",
        tuned: Tuned | None = None,
    ) -> Finder:
        """Encode the prompts once, for any number of photos that come one by one.

        Takes what a call takes, but for the photo, and raises what a call raises for it.

        Returns:
            A function from a photo to its result.
        """
        if refine < 0:
            raise PromptError(f"refine is {refine}; 0 or more rounds are possible.")
        examples = examples or {}
        vocabulary = _with_examples(classes, examples)
        source = ExemplarSource(self._pipeline.engine, examples, self._pipeline.cache)
        question = Question(
            vocabulary=vocabulary,
            examples=EncodedExamples(tuple(examples), source.prompts_for(vocabulary)),
            refine=refine,
            refine_mode=refine_mode,
            unlabelled=unlabelled,
            prompts=prompts,
        )
        if tuned is not None and not isinstance(tuned, TunedPrompts):
            tuned = TunedPrompts.load(os.fspath(tuned))
        return Finder(self._pipeline, question, tuned)

    def label(
        self, scores: FloatArray, photo_hw: tuple[int, int], *, given: int, unlabelled: bool = True
    ) -> LabelArray:
        """Turn scores into labels by this segmenter's rules; for whoever changes scores.

        Args:
            scores: in [0, 1] at low resolution, K h w.
            photo_hw: size of the label map.
            given: only the first `given` of the K classes may win; the others are distractors.
            unlabelled: leave pixels without a label where no class convinces.

        Returns:
            The winning class of each pixel, -1 for unlabelled, H W.
        """
        decide = self._pipeline.decide(given) if unlabelled else None
        whole = View(0, 0, *photo_hw, (scores.shape[1], scores.shape[2]))
        return merge_labels([scores], [whole], photo_hw, kept=given, decide=decide)


def _with_examples(classes: Classes, examples: Examples) -> Vocabulary:
    """Add the names that only example pictures tell of."""
    if examples and len(classes) == 0:
        return Vocabulary.of(list(examples))
    vocabulary = Vocabulary.of(classes)
    unknown = [ClassEntry(name) for name in examples if vocabulary.find(name) is None]
    return Vocabulary([*vocabulary, *unknown]) if unknown else vocabulary
