"""What the rooms pass on to each other: types of arrays, and the prompts of K classes.

Shape letters: K classes, M templates, L text tokens, P visual tokens, D joint dimension, C_j
channels of level j (stride 2^j).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dpseg.errors import ShapeError

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]  # H W 3, RGB
LabelArray = npt.NDArray[np.int32]  # class indices, -1 is unlabelled
IntArray = npt.NDArray[np.integer]
CountArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]

A = TypeVar("A")
Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class PromptSet(Generic[A]):
    """The dual prompts of K classes, as a network consumes them: numpy arrays or tensors.

    A class without a visual prompt has `visual_mask` False; its visual arrays are then ignored.

    Attributes:
        text_embedding: class-wise text prompts T, unit vectors, K M D.
        text_tokens: token-wise text prompts, unit vectors, K L D.
        text_token_mask: which tokens are there, K L.
        visual_embedding: class-wise visual prompts V, unit vectors, K M D.
        visual_features: level j to visual prompts V_j, unit vectors, K M C_j.
        visual_tokens: token-wise visual prompts, unit vectors, K P D.
        visual_mask: which classes have a visual prompt, K.

    Source: DPSeg, dual prompts; class-wise and token-wise, text and visual.
    """

    text_embedding: A
    text_tokens: A
    text_token_mask: A
    visual_embedding: A
    visual_features: Mapping[int, A]
    visual_tokens: A
    visual_mask: A

    def __len__(self) -> int:
        return len(self.text_embedding)  # type: ignore[arg-type]

    def map(self, change: Callable[[Any], Any]) -> PromptSet[Any]:
        """Apply a function to every array, such as `torch.from_numpy`."""
        return map_arrays(self, change)

    def select(self, classes: Any) -> PromptSet[A]:
        """Keep the prompts of some classes, in the order given."""
        return self.map(lambda table: table[classes])

    def to_tensors(self) -> dict[str, A]:
        """List the arrays by name; those of level j as `visual_features.j`."""
        return to_tensors(self)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, A]) -> PromptSet[A]:
        """Undo `to_tensors`.

        Raises:
            KeyError: an array is missing; names it.
        """
        return from_tensors(cls, tensors)

    def concat(self: PromptSet[AnyArray], other: PromptSet[AnyArray]) -> PromptSet[AnyArray]:
        """Put the prompts of further classes behind these (numpy only).

        Raises:
            ShapeError: the prompts come from different models.
        """
        mine, theirs = _of_one_length(self, other)
        return concat_records([mine, theirs])

    def replace(
        self: PromptSet[AnyArray], classes: Sequence[int], other: PromptSet[AnyArray]
    ) -> PromptSet[AnyArray]:
        """Put other prompts in place of those of N classes (numpy only).

        Args:
            classes: N indices.
            other: prompts of N classes, of the same model.

        Raises:
            ShapeError: the prompts come from different models.
        """
        mine, theirs = _of_one_length(self, other)
        tables, rows = mine.to_tensors(), theirs.to_tensors()
        _check_same_model(tables, rows)
        replaced = {name: table.copy() for name, table in tables.items()}
        for name, table in replaced.items():
            table[list(classes)] = rows[name]
        return PromptSet.from_tensors(replaced)


def map_arrays(record: Record, change: Callable[[Any], Any]) -> Record:
    """Apply a function to every array of a record."""
    return from_tensors(
        type(record), {name: change(table) for name, table in to_tensors(record).items()}
    )


def equal_fields(one: object, other: object, names: Sequence[str]) -> bool:
    """Return whether some fields of two records are equal, arrays by all their values."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else a == b
        for a, b in pairs
    )


def concat_records(records: Sequence[Record]) -> Record:
    """Join records along the first axis of every array.

    Args:
        records: at least one.

    Raises:
        ShapeError: they come from different models; carries both shapes.
    """
    tables = [to_tensors(record) for record in records]
    for other in tables[1:]:
        _check_same_model(tables[0], other)
    joined = {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}
    return from_tensors(type(records[0]), joined)


def to_tensors(record: Any) -> dict[str, Any]:
    """List a record's arrays by name; those of a mapping as `name.key`, absent ones not at all."""
    flat: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Mapping):
            flat |= {f"{field.name}.{key}": table for key, table in value.items()}
        elif value is not None:
            flat[field.name] = value
    return flat


def from_tensors(kind: type[Record], tensors: Mapping[str, Any]) -> Record:
    """Undo `to_tensors`; names that the record does not have are passed over.

    Args:
        kind: the record's class.
        tensors: its arrays by name; keys of mappings are whole numbers.

    Raises:
        KeyError: an array is missing; names it.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        prefix = f"{field.name}."
        if field.name in tensors:
            values[field.name] = tensors[field.name]
        elif "Mapping" in str(field.type):
            values[field.name] = {
                int(name.removeprefix(prefix)): table
                for name, table in tensors.items()
                if name.startswith(prefix)
            }
        elif field.default is MISSING:
            raise KeyError(field.name)
    return kind(**values)


def _of_one_length(
    first: PromptSet[AnyArray], second: PromptSet[AnyArray]
) -> tuple[PromptSet[AnyArray], PromptSet[AnyArray]]:
    """Pad the text tokens of both to the longer L."""
    length = max(first.text_tokens.shape[1], second.text_tokens.shape[1])
    return _padded(first, length), _padded(second, length)


def _padded(prompts: PromptSet[AnyArray], length: int) -> PromptSet[AnyArray]:
    missing = length - prompts.text_tokens.shape[1]
    if not missing:
        return prompts
    tensors = prompts.to_tensors()
    tensors["text_tokens"] = np.pad(prompts.text_tokens, ((0, 0), (0, missing), (0, 0)))
    tensors["text_token_mask"] = np.pad(prompts.text_token_mask, ((0, 0), (0, missing)))
    return PromptSet.from_tensors(tensors)


def _check_same_model(first: Mapping[str, AnyArray], second: Mapping[str, AnyArray]) -> None:
    """Refuse prompts whose shapes differ in more than the number of classes."""
    shapes = [{name: table.shape[1:] for name, table in one.items()} for one in (first, second)]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"prompts of different models: {shapes[0]} and {shapes[1]}")
