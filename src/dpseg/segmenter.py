"""The product in one object: photo + names + examples -> `Segmentation`.

It checks what it is given and puts it in order for the predictor. It talks numpy to an `Engine` and
does not know which engine runs the model.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from dpseg.arrays import FloatArray, LabelArray
from dpseg.engines.detector import Detector
from dpseg.engines.protocol import Engine, ModelInfo
from dpseg.errors import CheckpointError
from dpseg.imaging.photo import PhotoLike, load_photo
from dpseg.imaging.tiling import DEFAULT_RULES, TilingRules, View
from dpseg.inference.auto_names import wants_names, with_common_names
from dpseg.inference.encoded_photo import EncodedPhoto
from dpseg.inference.negatives import with_negatives
from dpseg.inference.options import DEFAULT_OPTIONS, OptionFields, SegmentOptions
from dpseg.inference.predictor import Predictor
from dpseg.inference.query import Query
from dpseg.inference.unlabelled import DEFAULT_UNLABELLED, UnlabelledRules
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.corrections import Corrections
from dpseg.prompts.examples import PictureLike
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import ExemplarSource
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import ClassEntry, Vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from dpseg.factory.load import EngineName

Classes: TypeAlias = "Sequence[str | ClassEntry] | str | Vocabulary"
Examples: TypeAlias = "Mapping[str, Sequence[PictureLike]]"
Tuned: TypeAlias = "TunedPrompts | str | os.PathLike[str]"
Corrected: TypeAlias = "Corrections | str | os.PathLike[str]"


class Segmenter:
    """Finds the pixels of named or shown things in photos.

    Args:
        engine: the loaded model.
        bank: visual prompts of many names; without one, names have text prompts only.
        cache: where prompt embeddings are kept between runs; None for the usual folder.
        tiling: when and how large photos are cut into tiles.
        unlabelled_rules: how readily pixels are left unlabelled.
        detector: whose boxes speak for names beside the model; None for none.
    """

    def __init__(
        self,
        engine: Engine,
        bank: PromptBank | None = None,
        *,
        cache: PromptCache | None = None,
        tiling: TilingRules = DEFAULT_RULES,
        unlabelled_rules: UnlabelledRules = DEFAULT_UNLABELLED,
        detector: Detector | None = None,
    ) -> None:
        self._name: str | None = None
        self._reload: Callable[[], Segmenter] | None = None
        self._predictor = Predictor(
            engine,
            bank,
            cache=cache,
            tiling=tiling,
            unlabelled_rules=unlabelled_rules,
            detector=detector,
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = "dpseg-lite",
        *,
        revision: str | None = None,
        engine: EngineName | None = None,
        device: str = "auto",
    ) -> Segmenter:
        """Load a model, its prompt bank and its detector.

        Args:
            name_or_folder: a preset's name, a folder with weights, or `owner/model` on the
                Hugging Face hub.
            revision: a branch, tag or commit on the hub.
            engine: `"onnx"` or `"torch"`; None takes onnxruntime where the model was exported, as
                the shipped one was, else torch.
            device: where it runs: `"auto"` (a GPU where there is one), `"cpu"`, `"cuda"`,
                `"cuda:1"`, `"mps"`; of exported models also `"directml"` and `"openvino"`.

        Returns:
            A segmenter that is ready to run.

        Raises:
            CheckpointError: there are no such weights, or they are damaged.
            DeviceError: the device is not there.
            MissingExtraError: the model needs an extra that is not installed.
        """
        from dpseg.factory.hub import resolve
        from dpseg.factory.load import load_detector, load_engine

        name = resolve(os.fspath(name_or_folder), revision=revision)
        loaded = load_engine(name, engine=engine, device=device)
        segmenter = cls(*loaded, detector=load_detector(name))
        segmenter._name = name
        where = os.path.abspath(name) if os.path.isdir(name) else name
        segmenter._reload = partial(cls.from_pretrained, where, engine=engine, device=device)
        return segmenter

    def __getstate__(self) -> object:
        """Pickle what was loaded by name as that name: to load it again is quicker than to send."""
        return self.__dict__ if self._reload is None else self._reload

    def __setstate__(self, state: dict[str, Any] | Callable[[], Segmenter]) -> None:
        self.__dict__.update(state if isinstance(state, dict) else state().__dict__)

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
        detector = self._predictor.detector
        return save_model(
            files,
            Path(folder),
            info=self.info,
            source=source,
            notes=notes,
            detector=None if detector is None else detector.origin,
        )

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
        """Return what the loaded model is."""
        return self._predictor.engine.info

    @overload
    def __call__(
        self,
        photo: list[Any] | tuple[Any, ...],
        classes: Classes = ...,
        *,
        not_classes: Classes | None = ...,
        examples: Examples | None = ...,
        tuned: Tuned | None = ...,
        corrections: Corrected | None = ...,
        options: SegmentOptions = ...,
        **changes: Unpack[OptionFields],
    ) -> list[Segmentation]: ...

    @overload
    def __call__(
        self,
        photo: PhotoLike | EncodedPhoto,
        classes: Classes = ...,
        *,
        not_classes: Classes | None = ...,
        examples: Examples | None = ...,
        tuned: Tuned | None = ...,
        corrections: Corrected | None = ...,
        options: SegmentOptions = ...,
        **changes: Unpack[OptionFields],
    ) -> Segmentation: ...

    def __call__(
        self,
        photo: PhotoLike | EncodedPhoto | list[Any] | tuple[Any, ...],
        classes: Classes = (),
        *,
        not_classes: Classes | None = None,
        examples: Examples | None = None,
        tuned: Tuned | None = None,
        corrections: Corrected | None = None,
        options: SegmentOptions = DEFAULT_OPTIONS,
        **changes: Unpack[OptionFields],
    ) -> Segmentation | list[Segmentation]:
        """Segment a photo, or several.

        Args:
            photo: a path, a file's bytes, a PIL image, an array H W 3, or what `encode` gave; or
                a list of these.
            classes: what to look for; `"car|automobile"` gives synonyms, one string is split at
                commas; `"auto"` stands for the common things that a photo shows.
            not_classes: what competes and is never shown: its pixels stay unlabelled.
            examples: photos that show a class, by its name; a name that neither `classes` nor
                `not_classes` has is added to the classes.
            tuned: prompts that `dpseg tune` fitted to labelled photos, or their file; they
                outrank names and examples of the classes that they hold.
            corrections: what was said of regions of photos (`Segmentation.correct`), or its file;
                names that only they tell of are added to the classes.
            options: everything else that can be asked.
            changes: fields of `SegmentOptions` that differ from `options`, such as `refine=1`,
                `unlabelled=False` or `prompts="text"`.

        Returns:
            A result, or a list of results for a list of photos.

        Raises:
            ImageError: a photo cannot be used.
            VocabularyError: the names cannot be used, or one is both wanted and not wanted.
            PromptError: an example or an option cannot be used.
        """
        query = self.prepare(
            classes,
            not_classes=not_classes,
            examples=examples,
            tuned=tuned,
            corrections=corrections,
            options=options,
            **changes,
        )
        return query.each(photo) if isinstance(photo, (list, tuple)) else query(photo)

    def prepare(
        self,
        classes: Classes = (),
        *,
        not_classes: Classes | None = None,
        examples: Examples | None = None,
        tuned: Tuned | None = None,
        corrections: Corrected | None = None,
        options: SegmentOptions = DEFAULT_OPTIONS,
        **changes: Unpack[OptionFields],
    ) -> Query:
        """Encode the prompts once, for any number of photos that come one by one.

        Takes what a call takes, but for the photo, and raises what a call raises for it.

        Returns:
            A function from a photo to its result.
        """
        options = options.replace(**changes)
        predictor, examples = self._predictor, examples or {}
        source = ExemplarSource(predictor.engine, examples, predictor.cache)
        negatives = None if not_classes is None else Vocabulary.of(not_classes)
        if corrections is not None and not isinstance(corrections, Corrections):
            corrections = Corrections.load(corrections)
        if not examples and corrections is not None and isinstance(classes, Sized) and not classes:
            classes = corrections.names
        vocabulary, own = _with_examples(classes, examples, negatives), None
        if wants_names(vocabulary):
            known = predictor.detector.names if predictor.detector else ()
            vocabulary, own = with_common_names(vocabulary, negatives, known, options.language)
        if tuned is not None and not isinstance(tuned, TunedPrompts):
            tuned = TunedPrompts.load(os.fspath(tuned))
        query = predictor.prepare(
            vocabulary,
            options,
            negatives=negatives,
            pictures=source.prompts_for(with_negatives(vocabulary, negatives)),
            tuned=tuned,
            own=own,
        )
        return query if corrections is None else query.corrected(corrections)

    def encode(self, photo: PhotoLike) -> EncodedPhoto:
        """Look at a photo once, to ask it for other names again and again.

        Args:
            photo: as in a call.

        Returns:
            What a call takes in place of the photo, with the same result.

        Raises:
            ImageError: the photo cannot be used.
        """
        return self._predictor.encode(load_photo(photo))

    def label(
        self,
        scores: FloatArray,
        photo_hw: tuple[int, int],
        *,
        given: int,
        negatives: int = 0,
        unlabelled: bool = True,
    ) -> LabelArray:
        """Turn scores into labels by this segmenter's rules; for whoever changes scores.

        Args:
            scores: in [0, 1] at low resolution, K h w.
            photo_hw: size of the label map.
            given: only the first `given` of the K classes may win.
            negatives: so many classes behind them are not wanted; the others are distractors.
            unlabelled: leave pixels without a label where no class convinces.

        Returns:
            The winning class of each pixel, -1 for unlabelled, H W.
        """
        whole = View(0, 0, *photo_hw, (scores.shape[1], scores.shape[2]))
        return self._predictor.label(
            [scores], [whole], photo_hw, given=given, negatives=negatives, unlabelled=unlabelled
        )


def _with_examples(
    classes: Classes, examples: Examples, negatives: Vocabulary | None
) -> Vocabulary:
    """Add the names that only examples tell of."""
    wanted = [name for name in examples if negatives is None or negatives.find(name) is None]
    if wanted and isinstance(classes, Sized) and not len(classes):
        return Vocabulary.of(wanted)
    vocabulary = Vocabulary.of(classes)
    unknown = [ClassEntry(name) for name in wanted if vocabulary.find(name) is None]
    return Vocabulary([*vocabulary, *unknown]) if unknown else vocabulary
