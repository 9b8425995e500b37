"""Class names as a person would say them, with synonyms, from data sets' own spellings.

Data sets write `tree-merged`, `door-stuff` or `diningtable`. The text tower wants plain words, and
names that mean the same in two sets must become one name, so that both sets train it.
"""

from __future__ import annotations

IGNORE_INDEX = 255

_PLAIN_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
    "floor-wood": "wooden floor",
    "wall-brick": "brick wall",
    "wall-stone": "stone wall",
    "wall-tile": "tiled wall",
    "wall-wood": "wooden wall",
    "window-blind": "window blind",
    "playingfield": "playing field",
    "hair drier": "hair dryer",
}
_SUFFIXES = ("-merged", "-other", "-stuff")

_SYNONYMS = {
    "person": ("man", "woman", "child", "people"),
    "tv": ("television", "monitor"),
    "couch": ("sofa",),
    "airplane": ("aeroplane", "plane"),
    "motorcycle": ("motorbike",),
    "cell phone": ("mobile phone", "smartphone"),
    "mouse": ("computer mouse",),
    "keyboard": ("computer keyboard",),
    "remote": ("remote control",),
    "orange": ("orange fruit",),
    "apple": ("apple fruit",),
    "donut": ("doughnut",),
    "car": ("automobile",),
    "bicycle": ("bike",),
    "refrigerator": ("fridge",),
    "pavement": ("sidewalk",),
    "rug": ("carpet",),
    "playing field": ("sports field",),
    "railroad": ("railway track",),
    "sea": ("ocean",),
    "light": ("lamp", "lighting"),
    "bear": ("brown bear",),
    "tie": ("necktie",),
    "glasses": ("eyeglasses",),
    "pants": ("trousers",),
    "potted plant": ("houseplant",),
    "teddy bear": ("stuffed toy",),
    "face": ("human face",),
    "body": ("human body",),
    "purse": ("handbag",),
    "ring": ("finger ring",),
    "watch": ("wristwatch",),
    "top": ("women's top",),
    "vegetation": ("trees", "bushes"),
    "net": ("sports net",),
    "banner": ("hanging banner",),
    "platform": ("train platform",),
    "counter": ("kitchen counter",),
    "sports ball": ("ball",),
    "kite": ("flying kite",),
}

# Labels that are no nameable class; their pixels are ignored.
_NOT_A_CLASS = frozenset({"foreground object"})
# Labels that mean "none of this set's names".
_BACKGROUND = frozenset({"background", "null"})


def plain_name(label: str) -> str:
    """Turn a data set's class label into plain words.

    Args:
        label: the label as the data set spells it, such as `"sky-other-merged"`.

    Returns:
        Plain words, such as `"sky"`.

    Source: dpseg choice; text towers are trained on prose, not on label codes.
    """
    label = label.strip()
    if label in _PLAIN_NAMES:
        return _PLAIN_NAMES[label]
    for suffix in _SUFFIXES:
        label = label.replace(suffix, "")
    return _PLAIN_NAMES.get(label, label)


def with_synonyms(name: str) -> str:
    """Write a plain name with its synonyms, `"tv|television|monitor"`.

    Args:
        name: a plain class name.

    Returns:
        The name and its synonyms joined by bars, the form that `Vocabulary` reads.
    """
    return "|".join((name, *_SYNONYMS.get(name, ())))


def is_background(label: str) -> bool:
    """Return whether a label means "none of this set's names"."""
    return label.strip() in _BACKGROUND


def is_ignored(label: str) -> bool:
    """Return whether a label is no nameable class, so that its pixels do not count."""
    return label.strip() in _NOT_A_CLASS
