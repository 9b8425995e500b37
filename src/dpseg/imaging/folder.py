"""The photos of a folder, and what is said of everything else that lies in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpseg.errors import ImageError
from dpseg.imaging.photo import SUFFIXES

#: How many names are told of files that are left out for the same reason.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class PhotoFolder:
    """What a folder holds.

    Attributes:
        photos: by name.
        left_out: the names of all else, by the reason why they are left out.
    """

    photos: list[Path]
    left_out: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path) -> PhotoFolder:
        """List the photos of a folder, not those of folders in it.

        Raises:
            ImageError: the folder cannot be read.
        """
        photos: list[Path] = []
        left_out: dict[str, list[str]] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    reason = _why_not(entry)
                    if reason is None:
                        photos.append(folder / entry.name)
                    else:
                        left_out.setdefault(reason, []).append(entry.name)
        except OSError as error:
            raise ImageError(f"{folder} cannot be read: {error.strerror or error}.") from error
        return cls(photos, left_out)

    def tell_left_out(self) -> str:
        """Say on one line what is left out and why; nothing if all is taken."""
        return "; ".join(f"{reason}: {_listed(names)}" for reason, names in self.left_out.items())


def no_photo(where: object) -> ImageError:
    """Make the error for a folder or pattern without photos."""
    return ImageError(f"{where} holds no photo ({', '.join(sorted(SUFFIXES))}).")


def _why_not(entry: os.DirEntry[str]) -> str | None:
    if entry.name.startswith("."):
        return "hidden"  # `._photo.jpg` is a Mac's note on photo.jpg
    if entry.is_dir():
        return "a folder"
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
        return "not named like a photo"
    # A link that leads nowhere counts as a photo, so that somebody hears of it.
    return None if entry.is_file() or entry.is_symlink() else "neither file nor folder"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
