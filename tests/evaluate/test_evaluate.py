"""The evaluation protocol, with a model that knows colours."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from colour_engine import COLOURS, ColourEngine, paint
from dpseg.arrays import concat_records
from dpseg.errors import DataError, PromptError, ShapeError
from dpseg.evaluate.configuration import EVERY_PIXEL, STANDARD, WITH_UNLABELLED, Configuration
from dpseg.evaluate.predictions import Predictions
from dpseg.evaluate.report import markdown, markdown_rows, save_html
from dpseg.evaluate.results import Evaluation, PartialResult, count_pictures, save_json
from dpseg.imaging.resize import squash_image
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.visual import CropSource, ExemplarSource
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

NAMES = ["red", "blue", "zorblax"]  # a zorblax is green; only pictures tell
VOCABULARY = Vocabulary.of(NAMES)
TEXT = Configuration("text", EVERY_PIXEL.replace(prompts="text"))
DUAL = Configuration("dual")
SHOWN = Configuration("shown", examples=True)


class SwitchableColours(ColourEngine):
    """Remembers what was switched; the parts themselves are none that it has."""

    def __init__(self):
        super().__init__()
        self.changed = []

    def with_options(self, **changes):
        self.changed.append(changes)
        return ColourEngine()


def counted(engine, samples, configurations=(), unseen=None, **rest):
    """Count all configurations, as an `Evaluation`."""
    predict = Predictions(engine, VOCABULARY, configurations, **rest)
    count = count_pictures(predict, enumerate(samples), len(configurations), len(NAMES))
    names = [configuration.name for configuration in configurations]
    return Evaluation(
        name="colours <&>",
        names=tuple(NAMES),
        unseen=unseen,
        pictures=count.pictures,
        accumulators=dict(zip(names, count.accumulators, strict=True)),
        best=count.best,
        worst=count.worst,
    )


def sample(shift: int = 0):
    """Red above, blue below, a zorblax within the blue; one column is not labelled."""
    image = paint(("red", 0, 48, 0, 96), ("blue", 48, 96, 0, 96), ("green", 64, 88, 8 + shift, 40))
    label = np.zeros((96, 96), np.int64)
    label[48:] = 1
    label[64:88, 8 + shift : 40] = 2
    label[:, -1] = 255
    return image, label


@pytest.fixture
def bank():
    colours = ("red", "blue")
    engine = ColourEngine()
    whole = np.ones((1, 1, 1), np.float32)
    rows = [pool_regions(engine.encode_prompt(paint(ground=c)), whole) for c in colours]
    return PromptBank(
        "colour", colours, engine.encode_text(colours).class_wise, concat_records(rows)
    )


def test_example_pictures_find_what_words_do_not(engine):
    examples = {"zorblax": [(paint(ground="green"), np.ones((96, 96)))]}
    source = ExemplarSource(engine, examples)
    evaluation = counted(engine, [sample()], [TEXT, SHOWN], examples=source, unseen=(2,))
    figures = evaluation.figures()
    assert figures["text"]["unseen_miou"] == 0
    assert figures["shown"]["unseen_miou"] > 0.7
    assert figures["shown"]["medium_miou"] > 0.7
    assert figures["shown"]["seen_miou"] > 0.9
    assert evaluation.accumulators["text"].confusion.sum() == 96 * 95


def test_each_picture_is_encoded_once(engine, bank):
    refined = Configuration("refined", EVERY_PIXEL.replace(refine=2))
    counted(engine, [sample(), sample(2)], [DUAL, refined, TEXT], bank=bank)
    assert engine.calls["image"] == 2


@pytest.mark.parametrize("size_hw", [(96, 96), (300, 210)])
def test_it_is_the_path_that_users_run(engine, bank, cache, size_hw):
    """Pixel for pixel what `Segmenter` answers, also where a photo is cut into tiles."""
    photo = np.array(Image.fromarray(sample()[0]).resize(size_hw[::-1]))
    configurations = [*STANDARD[:4], *WITH_UNLABELLED]
    maps = Predictions(engine, VOCABULARY, configurations, bank=bank, cache=cache)(photo)
    segmenter = Segmenter(engine, bank, cache=cache)
    for configuration, labels in zip(configurations, maps, strict=True):
        expected = segmenter(photo, VOCABULARY, options=configuration.options).labels
        np.testing.assert_array_equal(labels, np.where(expected < 0, 3, expected))


def test_only_parts_that_differ_are_switched(bank):
    engine = SwitchableColours()
    more = Configuration("x", decoder=False, joined="concatenate", guidance="upsampled")
    evaluation = counted(engine, [sample()], [*STANDARD, more], bank=bank)
    assert engine.changed == [
        {"token_wise": False},
        {"guidance_levels": ()},
        {"guidance": "upsampled", "strategy": "concatenate", "decoder": False},
    ]
    assert list(evaluation.accumulators) == [*(one.name for one in STANDARD), "x"]


def test_fewer_templates_repeat_the_first_ones(bank):
    options = TEXT.options.replace(snap=False)  # it smooths the second template's red away

    def answer(templates, **rest):
        engine = ColourEngine(templates=("{}", "red {}"))
        configuration = Configuration("x", options.replace(templates=templates))
        return Predictions(engine, VOCABULARY, [configuration])(sample()[0])[0]

    plain = Configuration("x", options)
    alone = Predictions(ColourEngine(templates=("{}",)), VOCABULARY, [plain])(sample()[0])[0]
    np.testing.assert_array_equal(answer(1), alone)
    assert (answer(2) != alone).any()
    with pytest.raises(PromptError, match="3 templates are asked for; the model has 2"):
        answer(3)


def test_classes_of_one_group_are_answered_by_its_index(engine):
    predict = Predictions(engine, VOCABULARY, [TEXT], groups=np.array([4, 7, 7]))
    assert set(np.unique(predict(sample()[0])[0])) <= {4, 7}


def test_pictures_of_any_size_are_counted_at_the_size_of_their_label(engine):
    image, label = (np.repeat(np.repeat(a, 3, 0), 2, 1)[:250, :150] for a in sample())
    evaluation = counted(engine, [(image, label)], [TEXT])
    assert evaluation.accumulators["text"].confusion.sum() == (label != 255).sum()
    assert evaluation.figures()["text"]["pixel_accuracy"] > 0.85  # the zorblax is lost


def test_seds_protocol_squashes_pictures_to_a_square(engine):
    image = np.random.default_rng(0).integers(0, 255, (640, 900, 3), np.uint8)
    square = squash_image(image, (96, 96))
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = interpolate(planes, (96, 96), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(square, expected.permute(1, 2, 0).numpy(), atol=0.51)
    assert squash_image(image[:320, :450], (96, 96)).shape == (96, 96, 3)
    evaluation = counted(engine, [sample()], [TEXT], protocol="sed")
    assert evaluation.figures()["text"]["pixel_accuracy"] > 0.85


def test_what_cannot_be_evaluated_is_refused(engine):
    with pytest.raises(DataError, match="different names"):
        counted(engine, [sample()], [TEXT, TEXT])
    with pytest.raises(DataError, match="'shown' needs examples"):
        counted(engine, [sample()], [SHOWN])
    with pytest.raises(DataError, match="which the engine of colour cannot"):
        counted(engine, [sample()], [Configuration("x", guidance_levels=())])
    nine = np.where(sample()[1] == 2, 9, sample()[1])
    with pytest.raises(DataError, match=r"target has values in 0\.\.9"):
        counted(engine, [(sample()[0], nine)], [TEXT])
    with pytest.raises(ShapeError, match="differ in size"):
        counted(engine, [(sample()[0], sample()[1][1:])], [TEXT])


def test_anything_that_labels_pictures_can_be_counted():
    def red_or_not(image):
        return [np.where(image[..., 0] > 128, 0, 1)]

    [accumulator] = count_pictures(red_or_not, enumerate([sample(), sample()]), 1, 3).accumulators
    assert accumulator.confusion[0, 0] == 2 * 48 * 95
    assert accumulator.confusion[2].sum() == accumulator.confusion[2, 1]


def test_parts_of_a_set_add_up_in_any_order(engine, bank):
    predict = Predictions(engine, VOCABULARY, [DUAL, TEXT], bank=bank)
    samples = [(number, sample(3 * number)) for number in range(7)]
    whole = count_pictures(predict, samples, 2, 3)
    parts = [count_pictures(predict, samples[start::3], 2, 3) for start in (2, 0, 1)]
    added = sum(parts, PartialResult.nothing(2, 3))
    for one, other in zip(whole.accumulators, added.accumulators, strict=True):
        np.testing.assert_array_equal(one.confusion, other.confusion)
        np.testing.assert_array_equal(one.outlines, other.outlines)
    assert [answer.number for answer in whole.best] == [answer.number for answer in added.best]
    assert [answer.number for answer in whole.worst] == [answer.number for answer in added.worst]


def test_crops_of_a_training_set_serve_as_examples(engine):
    source = CropSource.from_samples(engine, [sample(), sample()], NAMES, wanted=["zorblax"])
    found = source.prompts_for(Vocabulary.of(["sky", "zorblax"]))
    assert list(found) == [1]
    assert source.prompts_for(Vocabulary.of("sky")) == {}
    assert found[1].class_wise[0].argmax() == list(COLOURS).index("green")


@pytest.fixture
def evaluation(engine, bank):
    samples = [sample(shift) for shift in range(6)]
    return counted(engine, samples, [DUAL, TEXT], bank=bank, unseen=(2,))


def test_json(evaluation, tmp_path):
    save_json([evaluation], tmp_path / "result.json")
    [plain] = json.loads((tmp_path / "result.json").read_text())
    assert plain["unseen"] == ["zorblax"]
    assert plain["pictures"] == 6
    figures = plain["configurations"]["dual"]
    assert figures["miou"] == evaluation.figures()["dual"]["miou"]
    assert list(figures["class_iou"]) == NAMES


def test_the_best_and_worst_pictures_are_kept(evaluation):
    best, worst = ([a.miou for a in answers] for answers in (evaluation.best, evaluation.worst))
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert len(best) == len(worst) == 4
    assert best[0] >= worst[-1]


def test_markdown(evaluation):
    table = markdown(evaluation)
    assert table.startswith(
        "### colours <&>: 6 pictures, 3 classes (1 unseen)\n\n| configuration |"
    )
    lines = table.splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert lines[4].split("|")[1].strip() == "dual"
    miou = 100 * evaluation.figures()["dual"]["miou"]
    assert lines[4].split("|")[2].strip() == f"{miou:.1f}"


def test_rows_of_an_ablation(evaluation):
    header, _, row = markdown_rows([evaluation], {"words": "text"}).splitlines()
    assert [cell.strip() for cell in header.split("|")[2:4]] == ["colours <&>", "mean mIoU"]
    cells = [cell.strip() for cell in row.split("|")[1:]]
    assert cells[0] == "words"
    assert cells[1] == cells[2] == f"{100 * evaluation.figures()['text']['miou']:.1f}"


def test_html_needs_nothing_else(evaluation, tmp_path):
    one_each = replace(evaluation, best=evaluation.best[:1], worst=evaluation.worst[:1])
    save_html([one_each], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "colours &lt;&amp;&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http" not in page
    assert 'src="' in page
    assert page.count('src="data:') == page.count('src="')
