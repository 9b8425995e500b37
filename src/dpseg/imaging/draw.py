"""Pictures of results: soft colours over the photo, thin outlines, a legend with areas.

The overlay is made to be looked at, so it has a size of its own: small photos are enlarged, large
ones reduced, and the legend stands below the photo at a size that can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dpseg.arrays import ImageArray, LabelArray

#: The long side of the shown photo is brought between these two.
SHOWN_SIDES = (720, 1600)
#: The overlay is at least this wide, so that a legend fits under a narrow photo.
MINIMUM_WIDTH = 480
#: The legend names this many classes and counts the others.
LEGEND_ENTRIES = 24

#: Stands in a label map for pixels to show as they are.
_PLAIN = -2
_BACKGROUND = (250, 250, 248)
_INK = (32, 34, 38)
_FAINT_INK = (120, 124, 130)
_MARGIN = 14
_FONT_SIZE = 19
_LONGEST_NAME = 36
#: System fonts with more than Latin letters, widest first; Pillow finds them by name.
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "arial.ttf")


@lru_cache(maxsize=16)
def palette(count: int) -> ImageArray:
    """Choose colours that look as different from each other as they can.

    Colours are taken one by one, each the farthest from those before it in the OKLab space, so
    that a shorter palette is the beginning of a longer one.

    Args:
        count: how many colours.

    Returns:
        RGB, count 3.
    """
    lightness, chroma, hue = np.meshgrid(
        np.linspace(0.55, 0.86, 5), np.linspace(0.08, 0.19, 4), np.linspace(0, 2 * np.pi, 72, False)
    )
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).reshape(-1, 3)
    rgb = _oklab_to_rgb(lab)
    shown = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
    lab, rgb = lab[shown], rgb[shown]
    # Lightness differences count less: shadows in the photo change it.
    space = lab * (0.6, 1.0, 1.0)
    start = np.array([0.62 * 0.6, -0.04, -0.17])  # a calm blue
    chosen = [int(((space - start) ** 2).sum(axis=1).argmin())]
    distance = np.full(len(space), np.inf)
    while len(chosen) < min(count, len(space)):
        distance = np.minimum(distance, ((space - space[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    order = np.resize(np.array(chosen, np.intp), count)  # repeats when there are no more colours
    colours: ImageArray = np.round(rgb[order] * 255).astype(np.uint8)
    colours.flags.writeable = False  # shared by every caller through the cache
    return colours


def overlay(
    photo: ImageArray,
    labels: LabelArray,
    areas: Mapping[str, float],
    *,
    counts: Mapping[str, int] | None = None,
    opacity: float = 0.5,
    hidden: Collection[int] = (),
) -> Image.Image:
    """Lay the label map over the photo, with a legend below.

    Args:
        photo: H W 3.
        labels: index into `areas`, -1 for unlabelled, H W.
        areas: every class's share of the photo, in the order of their indices.
        counts: how many things there are of some classes.
        opacity: of the colours, in [0, 1].
        hidden: classes whose pixels stay as they are in the photo.

    Returns:
        An RGB picture of its own size.
    """
    if hidden:
        labels = np.where(np.isin(labels, list(hidden)), _PLAIN, labels).astype(labels.dtype)
    shown = Image.fromarray(painted(photo, labels, palette(max(1, len(areas))), opacity=opacity))
    width = max(shown.width, MINIMUM_WIDTH)
    legend = _legend(areas, counts or {}, width, hidden)
    canvas = Image.new("RGB", (width, shown.height + legend.height), _BACKGROUND)
    canvas.paste(shown, ((width - shown.width) // 2, 0))
    canvas.paste(legend, (0, shown.height))
    return canvas


def painted(
    photo: ImageArray, labels: LabelArray, colours: ImageArray, *, opacity: float = 0.5
) -> ImageArray:
    """Lay colours and outlines over the photo, at a size to look at that its own size sets.

    Args:
        photo: H W 3.
        labels: index into `colours`, -1 for unlabelled, H W; -2 is shown as it is.
        colours: RGB, K 3.
        opacity: of the colours, in [0, 1].

    Returns:
        RGB of its own height and width.
    """
    height, width = labels.shape
    scale = min(max(1.0, SHOWN_SIDES[0] / max(height, width)), SHOWN_SIDES[1] / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.asarray(
        Image.fromarray(photo).resize(size_wh, Image.Resampling.BICUBIC), dtype=np.float32
    )
    shown = np.asarray(Image.fromarray(labels).resize(size_wh, Image.Resampling.NEAREST))
    named = (shown >= 0)[..., None]
    tint = colours[np.maximum(shown, 0)].astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    faded = 0.35 * pixels + 0.65 * (0.75 * grey + 0.25 * 255)
    rest = np.where((shown == _PLAIN)[..., None], pixels, faded)
    mixed = np.where(named, (1 - opacity) * pixels + opacity * tint, rest)
    edge = _edges(shown, max(1, round(max(size_wh) / 700)))[..., None] & named
    mixed = np.where(edge, 0.7 * tint + 0.3 * 255, mixed)
    painted: ImageArray = np.round(np.clip(mixed, 0, 255)).astype(np.uint8)
    return painted


def _edges(labels: npt.NDArray[np.int32], thickness: int) -> npt.NDArray[np.bool_]:
    """Mark the pixels within `thickness` of another label, inside each region."""
    edge = np.zeros(labels.shape, np.bool_)
    for step in range(1, thickness + 1):
        across = labels[:, step:] != labels[:, :-step]
        edge[:, step:] |= across
        edge[:, :-step] |= across
        down = labels[step:] != labels[:-step]
        edge[step:] |= down
        edge[:-step] |= down
    return edge


def _legend(
    areas: Mapping[str, float], counts: Mapping[str, int], width: int, hidden: Collection[int]
) -> Image.Image:
    """Name the classes that are there with their counts and areas, largest first."""
    colours = palette(max(1, len(areas)))
    shares = enumerate(areas.items())
    present = sorted(
        ((share, k, name) for k, (name, share) in shares if share > 0 and k not in hidden),
        key=lambda entry: (-entry[0], entry[1]),
    )
    entries = [
        (
            colours[index],
            _shortened(name),
            f"{percent(s)} in {counts[name]}" if name in counts else percent(s),
        )
        for s, index, name in present
    ]
    more = len(entries) - LEGEND_ENTRIES
    rest = 1 - sum(areas.values())
    notes = [f"and {more} more"] if more > 0 else []
    notes += [f"unlabelled {percent(rest)}"] if rest > 5e-4 else []
    return _chips(entries[:LEGEND_ENTRIES], notes, width)


def colour_key(names: Sequence[str], width: int) -> Image.Image:
    """Name the colours of all classes, whether they are there or not: the same for every frame.

    Args:
        names: by index into the palette.
        width: of the picture.

    Returns:
        An RGB picture as high as needed.
    """
    colours = palette(max(1, len(names)))
    entries = [(colours[index], _shortened(name), "") for index, name in enumerate(names)]
    hidden = len(entries) - LEGEND_ENTRIES
    return _chips(entries[:LEGEND_ENTRIES], [f"and {hidden} more"] if hidden > 0 else [], width)


def _chips(
    entries: Sequence[tuple[npt.NDArray[np.uint8], str, str]], notes: Sequence[str], width: int
) -> Image.Image:
    """Draw colour chips with names and shares, then notes, in as many lines as needed."""
    font = _font(" ".join(name for _, name, _ in entries))
    chip, line = _FONT_SIZE - 3, _FONT_SIZE + 13
    placed: list[tuple[int, int, tuple[npt.NDArray[np.uint8] | None, str, str]]] = []
    left, top = _MARGIN, _MARGIN
    for entry in [*entries, *((None, note, "") for note in notes)]:
        has_chip = entry[0] is not None
        length = round(font.getlength(f"{entry[1]} {entry[2]}")) + (chip + 8 if has_chip else 0)
        if left > _MARGIN and left + length > width - _MARGIN:
            left, top = _MARGIN, top + line
        placed.append((left, top, entry))
        left += length + 26
    picture = Image.new("RGB", (width, top + line if placed else 0), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for left, top, (colour, name, share) in placed:
        middle = top + chip // 2
        if colour is not None:
            box = (left, top, left + chip, top + chip)
            draw.rounded_rectangle(box, radius=4, fill=tuple(int(c) for c in colour))
            left += chip + 8
        draw.text(
            (left, middle),
            name,
            fill=_INK if colour is not None else _FAINT_INK,
            font=font,
            anchor="lm",
        )
        draw.text(
            (left + font.getlength(name + " "), middle),
            share,
            fill=_FAINT_INK,
            font=font,
            anchor="lm",
        )
    return picture


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Choose Pillow's own font, or one of the system's where that lacks the letters."""
    if not text.isascii():
        for name in _WIDE_FONTS:
            try:
                return ImageFont.truetype(name, _FONT_SIZE)
            except OSError:
                continue
    return ImageFont.load_default(_FONT_SIZE)


def percent(share: float) -> str:
    """Write a share of the photo for people: `12%`, `0.4%`, `<0.1%`."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _oklab_to_rgb(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert OKLab to sRGB in [0, 1]; colours that no screen shows fall outside.

    Source: Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    to_cone = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = (lab @ to_cone.T) ** 3 @ to_linear.T
    curved = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    srgb: npt.NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, curved)
    return srgb
