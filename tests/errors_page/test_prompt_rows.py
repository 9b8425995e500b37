"""Every row of "Examples and prompts" in docs/errors.md, given for real."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from colour_engine import paint
from dpseg.inference.options import SegmentOptions
from dpseg.prompts.bank import PromptBank, build_bank
from dpseg.prompts.cache import CacheKey, PromptCache, PromptCacheWarning, hash_text
from dpseg.prompts.examples import load_example, load_mask, pictures_in
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import ExemplarSource
from dpseg.serve.requests import read_examples
from dpseg.vocabulary import Vocabulary
from errors_page.section import Section

prompts = Section("Examples and prompts: `PromptError`")
PICTURE = paint(("red", 0, 48, 0, 96))
MASK = np.zeros((96, 96), bool)
MASK[:48] = True
KEY = CacheKey("encoder", hash_text("cat"), "a {}")
ARRAYS = {"a": np.ones(3, np.float32)}


@pytest.mark.parametrize("given", prompts.rows, ids=str)
def test_row(given, request):
    prompts.check(given, request)


@pytest.fixture
def ask(segmenter):
    """Ask for a cat that examples show."""
    return lambda examples, **options: segmenter(PICTURE, "cat", examples=examples, **options)


@prompts.row("an example that cannot be read")
def _(ask):
    with prompts.refused("example 2 of 'cat': none.jpg does not exist"):
        ask({"cat": [PICTURE, "none.jpg"]})


@prompts.row("examples that are no mapping of names to lists of examples; an empty list")
def _(ask):
    for examples in ([PICTURE], "cat.jpg", {1: [PICTURE]}, {"cat": PICTURE}, {"cat": []}):
        with prompts.refused("examples are not lists|are not a list|no example pictures"):
            ask(examples)


@prompts.row("a bare `(photo, mask)` where a list is needed: it could be two photos")
def _(ask):
    with prompts.refused(r"\[\(photo, mask\)\] for .*, \[photo, photo\] for two"):
        ask({"cat": (PICTURE, MASK)})


@prompts.row("`--example` that is not `NAME=FILE`")
def _(command):
    for wrong in ("cat", "=cat.jpg", "cat="):
        with prompts.refused("NAME=FILE"):
            command("segment", "photo.jpg", "--example", wrong)


@prompts.row(
    "an examples folder without class folders, a class folder without photos, "
    "or a mask without its photo"
)
def _(tmp_path):
    with prompts.refused("holds no folder of example pictures"):
        pictures_in(tmp_path)
    (tmp_path / "cat").mkdir()
    with prompts.refused("holds no example picture"):
        pictures_in(tmp_path)
    Image.fromarray(MASK).save(tmp_path / "cat/one.mask.png")
    with prompts.refused("is a mask, but there is no picture"):
        pictures_in(tmp_path)


@prompts.row("a mask that is empty, has values outside [0, 1], or another aspect than its photo")
def _():
    for mask, told in ((MASK & False, "empty"), (MASK * 2.5, "not in"), (MASK[:48], "not fit")):
        with prompts.refused(told):
            load_example((PICTURE, mask))


@prompts.row("a mask of another size but the same aspect")
def _(ask):
    shown = ask({"blorp": [(PICTURE, MASK[::2, ::2])]}, unlabelled=False)
    assert shown.mask("blorp")[:40].all()


@prompts.row("a mask with alpha (RGBA, grey with alpha, palette with a clear entry)")
def _():
    black = Image.new("RGB", (96, 96))
    black.putalpha(Image.fromarray(MASK.astype(np.uint8) * 255))
    palette = Image.fromarray(MASK.astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.info["transparency"] = 0
    opaque = Image.fromarray(MASK.astype(np.uint8) * 255).convert("LA")
    for mask in (black, black.convert("LA"), palette, opaque):
        np.testing.assert_array_equal(load_mask(mask), MASK)


@prompts.row("two masks for one example (`dpseg serve`)")
def _():
    with prompts.refused("an example has one mask"):
        read_examples([b"a"], ["cat"], [b"b", b"c"], [0, 0])


@prompts.row('`prompts="visual"` while a class has no visual prompt')
def _(ask):
    with prompts.refused("cat"):
        ask({}, prompts="visual")


@prompts.row(
    "a negative `refine`, a `min_presence` outside 0..1, "
    "an unknown `prompts`, `refine_mode` or `language`"
)
def _():
    for wrong, told in (
        ({"refine": -1}, "0 or more"),
        ({"min_presence": 1.5}, r"in \[0, 1\]"),
        ({"prompts": "both"}, "'dual', 'text', 'visual'"),
        ({"refine_mode": "cut"}, "'pool', 'crop'"),
        ({"language": "xx"}, "auto, en, "),
    ):
        with prompts.refused(told):
            SegmentOptions(**wrong)


@pytest.fixture
def bank(engine):
    red = Vocabulary.of("red")
    source = ExemplarSource(engine, {"red": [(PICTURE, MASK)]})
    return build_bank(engine, red, source.prompts_for(red))


@prompts.row("a bank that is damaged, or was made by another encoder (`PromptBank.load`)")
def _(bank, tmp_path):
    bank.save(tmp_path / "bank")
    with prompts.refused("does not fit 'other'"):
        PromptBank.load(tmp_path / "bank", encoder_key="other")
    (tmp_path / "bank").write_bytes((tmp_path / "bank").read_bytes()[:-9])
    with prompts.refused("cannot read"):
        PromptBank.load(tmp_path / "bank")


@prompts.row("tuned prompts whose file is damaged, or that belong to another model")
def _(engine, ask, tmp_path):
    words = Vocabulary.of("cat")
    tuned = TunedPrompts.of_classes(build_prompts(engine, words), words, [0], "other")
    with prompts.refused("'other' and do not fit"):
        ask({}, tuned=replace(tuned, names=("cat",)))
    (tmp_path / "tuned").write_bytes(b"{")
    with prompts.refused("cannot read file of tuned prompts"):
        ask({}, tuned=tmp_path / "tuned")


prompts.proven(
    "Stable Diffusion that cannot be loaded (a hub id that is gone, no network), "
    "or comes without a safety checker",
    "prompts/test_diffusion.py::test_a_hub_id_that_is_gone_is_named",
    "prompts/test_diffusion.py::test_a_missing_or_unsafe_pipeline_is_refused",
)


@prompts.row("a cache entry that is damaged or of another encoder")
def _(tmp_path):
    cache, other = PromptCache(tmp_path), replace(KEY, encoder_key="other")
    for key in (KEY, other):
        cache.store(key, ARRAYS)
    for content in (b"damaged", cache.path_of(other).read_bytes()):
        cache.path_of(KEY).write_bytes(content)
        with pytest.warns(PromptCacheWarning):
            assert PromptCache(tmp_path).load(KEY) is None
        cache.store(KEY, ARRAYS)
        assert PromptCache(tmp_path).load(KEY) is not None


@prompts.row("a cache folder that cannot be written")
def _(tmp_path):
    (tmp_path / "file").touch()
    cache = PromptCache(tmp_path / "file")
    with pytest.warns(PromptCacheWarning, match="cannot write"):
        cache.store(KEY, ARRAYS)
    assert cache.load(KEY) is not None


prompts.proven(
    "a user without a home folder",
    "prompts/test_cache.py::test_a_user_without_a_home_works_without_a_folder",
)
