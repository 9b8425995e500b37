"""Example pictures and the bank as sources of visual prompts."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.examples import load_example, load_mask, pictures_in
from dpseg.prompts.localize import centre_prior, localize_object
from dpseg.prompts.visual import ExemplarSource
from dpseg.vocabulary import ClassEntry, Vocabulary

RED, BLUE, GREEN = (list(COLOURS).index(name) for name in ("red", "blue", "green"))
PICTURE = paint(("red", 0, 40, 0, 40), ("blue", 60, 96, 60, 96))
MASK = np.zeros((96, 96), bool)
MASK[60:, 60:] = True


def test_a_mask_says_what_the_example_shows(engine):
    source = ExemplarSource(engine, {"mascot": [(PICTURE, MASK), (PICTURE, ~MASK)]})
    found = source.prompts_for(Vocabulary.of(["sky", "emblem|Mascot"]))
    assert set(found) == {1}
    assert found[1].class_wise.shape == (2, 12)
    assert found[1].class_wise[0].argmax() == BLUE


def test_without_a_mask_the_model_finds_the_named_thing(engine):
    mask = localize_object(engine, PICTURE, ClassEntry("red"))
    assert mask.shape == (12, 12)
    assert mask[:5, :5].min() > 0.9
    assert mask[5:].max() == 0
    found = ExemplarSource(engine, {"red": [PICTURE]}).prompts_for(Vocabulary.of(["red"]))
    assert found[0].class_wise[0].argmax() == RED


def test_a_thing_without_a_known_name_is_sought_in_the_middle(engine):
    mask = localize_object(engine, paint(("green", 30, 66, 30, 66)), ClassEntry("zorblax"))
    np.testing.assert_array_equal(mask, centre_prior((12, 12)))
    assert mask.argmax() in (65, 66, 77, 78)


def test_a_folder_of_examples(engine, tmp_path):
    for name in ("mascot", "sky", ".hidden"):
        (tmp_path / name).mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "mascot" / "one.png")
    Image.fromarray(MASK).save(tmp_path / "mascot" / "one.mask.png")
    Image.fromarray(PICTURE).save(tmp_path / "mascot" / "two.jpg")
    Image.fromarray(PICTURE).save(tmp_path / "sky" / "x.JPEG")
    (tmp_path / "sky" / "notes.txt").write_text("not a picture")
    (tmp_path / "list.txt").write_text("not a class")
    pictures = pictures_in(tmp_path)
    assert [isinstance(example, tuple) for example in pictures["mascot"]] == [True, False]
    assert list(pictures) == ["mascot", "sky"]
    source = ExemplarSource(engine, pictures)
    assert len(source.prompts_for(Vocabulary.of(["mascot", "sky"]))[0].class_wise) == 2


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(PromptError, match="not a folder"):
        pictures_in(tmp_path / "none")
    with pytest.raises(PromptError, match="holds no folder"):
        pictures_in(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(PromptError, match="holds no example picture"):
        pictures_in(tmp_path)
    Image.fromarray(MASK).save(tmp_path / "cat" / "one.mask.png")
    with pytest.raises(PromptError, match="is a mask, but there is no picture"):
        pictures_in(tmp_path)


def test_masks_in_folders_are_found_by_their_mark_and_hidden_files_are_no_examples(tmp_path):
    (tmp_path / "cat" / "folder.jpg").mkdir(parents=True)
    (tmp_path / "cat" / "._one.jpg").write_bytes(b"left there by a computer")
    Image.fromarray(PICTURE).save(tmp_path / "cat" / "one.jpg")
    Image.fromarray(MASK).save(tmp_path / "cat" / "one.MASK.webp", lossless=True)
    ((photo, mask),) = pictures_in(tmp_path)["cat"]
    assert (photo.name, mask.name) == ("one.jpg", "one.MASK.webp")


def test_examples_of_unknown_classes_and_bad_pictures_are_refused(engine):
    vocabulary = Vocabulary.of(["cat"])
    with pytest.raises(PromptError, match="'dog', which is none of the classes cat"):
        ExemplarSource(engine, {"dog": [PICTURE]}).prompts_for(vocabulary)
    with pytest.raises(PromptError, match=r"example 2 of 'cat': .*does not exist"):
        ExemplarSource(engine, {"cat": [PICTURE, "none.jpg"]}).prompts_for(vocabulary)
    with pytest.raises(PromptError, match="example 1 of 'cat': the mask is empty"):
        ExemplarSource(engine, {"cat": [(PICTURE, MASK & False)]}).prompts_for(vocabulary)
    with pytest.raises(PromptError, match="no example pictures"):
        ExemplarSource(engine, {"cat": []})
    with pytest.raises(PromptError, match="not a list"):
        ExemplarSource(engine, {"cat": "cat.jpg"})
    for examples in ([PICTURE], (PICTURE, MASK), "cat.jpg", {1: [PICTURE]}):
        with pytest.raises(PromptError, match=r"examples are not lists of pictures by names"):
            ExemplarSource(engine, examples)
    with pytest.raises(PromptError, match=r"'cat' are a tuple of 2; give a list: \[\(photo, mask"):
        ExemplarSource(engine, {"cat": (PICTURE, MASK)})


def test_the_cache_saves_the_encoder(engine, cache):
    examples = {"red": [PICTURE, (PICTURE, MASK)]}
    vocabulary = Vocabulary.of(["red"])
    first = ExemplarSource(engine, examples, cache).prompts_for(vocabulary)[0]
    calls = dict(engine.calls)
    again = ExemplarSource(engine, examples, PromptCache(cache.folder)).prompts_for(vocabulary)[0]
    assert engine.calls == calls
    np.testing.assert_array_equal(first.token_wise, again.token_wise)
    np.testing.assert_array_equal(first.level_wise[2], again.level_wise[2])


def test_without_a_mask_the_word_is_part_of_the_key(engine, cache):
    for name, colour in (("red", RED), ("blue", BLUE)):
        source = ExemplarSource(engine, {name: [PICTURE]}, cache)
        found = source.prompts_for(Vocabulary.of([name]))
        assert found[0].class_wise[0].argmax() == colour


def test_real_photos_are_accepted(engine):
    for photo in (data.astronaut(), data.camera()):
        found = ExemplarSource(engine, {"x": [photo]}).prompts_for(Vocabulary.of(["x"]))
        assert np.isfinite(found[0].class_wise).all()


def test_masks_of_every_kind():
    expected = MASK.astype(np.float32)
    png = io.BytesIO()
    Image.fromarray(MASK.astype(np.uint8)).save(png, "PNG")
    indexed = Image.fromarray(MASK.astype(np.uint8) * 255)
    for mask in (MASK, MASK.astype(int) * 7, expected, png.getvalue(), indexed):
        np.testing.assert_array_equal(load_mask(mask), expected)
    soft = np.full((2, 2), 0.3)
    np.testing.assert_allclose(load_mask(soft), soft)


def painted_mask(mode: str, colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    """Put a mask in the alpha of a picture of colours that say nothing of it."""
    rgba = Image.fromarray(np.concatenate([colours, alpha[..., None]], axis=2))
    if mode == "P":  # one entry of the palette is clear, as GIF has it
        indices = Image.fromarray((alpha > 200).astype(np.uint8) + 5, "P")
        indices.putpalette(np.repeat(np.arange(256, dtype=np.uint8) // 2, 3).tobytes())
        indices.info["transparency"] = 5
        return indices
    return rgba.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_mask_with_alpha_means_its_alpha(mode, shade, tmp_path):
    colours = np.full((96, 96, 3), shade, np.uint8)
    colours[:60] = 255 - shade  # says something else than the alpha
    picture = painted_mask(mode, colours, np.where(MASK, 250, 140).astype(np.uint8))
    picture.save(tmp_path / "mask.png")
    for mask in (picture, tmp_path / "mask.png", (tmp_path / "mask.png").read_bytes()):
        np.testing.assert_array_equal(load_mask(mask), MASK.astype(np.float32))


@pytest.mark.parametrize("opacity", [0, 128, 255])
def test_alpha_that_is_the_same_everywhere_says_nothing(opacity):
    brightness = np.where(MASK, 255, 0).astype(np.uint8)
    alpha = np.full_like(brightness, opacity)
    for parts in ((brightness, alpha), (brightness, brightness, brightness, alpha)):
        mask = load_mask(Image.fromarray(np.stack(parts, axis=2)))
        np.testing.assert_array_equal(mask, MASK.astype(np.float32))


@pytest.mark.parametrize(("kind", "most"), [(np.uint16, 1), (np.uint16, 1000), (np.float32, 1)])
def test_masks_of_deep_pictures_are_told_from_their_own_brightest_value(kind, most, tmp_path):
    Image.fromarray((MASK * most).astype(kind)).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.tif"), MASK.astype(np.float32))


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 2)), np.full((2, 2), np.nan), np.full((2, 2), 3.0), np.array([["a"]])]
)
def test_bad_masks_are_refused(mask):
    with pytest.raises(PromptError):
        load_mask(mask)


def test_examples_are_a_photo_or_a_pair():
    assert load_example((PICTURE, None))[1] is None
    with pytest.raises(PromptError, match="3 parts"):
        load_example((PICTURE, MASK, MASK))
    with pytest.raises(PromptError, match="does not fit"):
        load_example((PICTURE, MASK[60:]))
