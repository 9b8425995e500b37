"""The evaluation protocol, with a model that knows colours."""

import json
from dataclasses import replace

import numpy as np
import pytest

from colour_runtime import COLOURS, ColourRuntime, paint
from dpseg.errors import DataError, ShapeError
from dpseg.evaluate.configuration import STANDARD, Configuration
from dpseg.evaluate.evaluate import evaluate_dataset, tally_predictions
from dpseg.evaluate.report import markdown, markdown_summary, save_html
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.embedding import stack_rows
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.visual import CropSource
from dpseg.vocabulary import Vocabulary

NAMES = ["red", "blue", "zorblax"]  # a zorblax is green; only pictures tell
VOCABULARY = Vocabulary.of(NAMES)
TEXT, DUAL = Configuration("text", prompts="text"), Configuration("dual")
SHOWN = Configuration("shown", examples=True)


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
    runtime = ColourRuntime()
    whole = np.ones((1, 1, 1), np.float32)
    rows = [pool_regions(runtime.encode_prompt(paint(ground=c)), whole) for c in colours]
    return PromptBank("colour", colours, runtime.encode_text(colours).class_wise, stack_rows(rows))


def test_example_pictures_find_what_words_do_not(runtime):
    examples = {"zorblax": [(paint(ground="green"), np.ones((96, 96)))]}
    evaluation = evaluate_dataset(
        runtime, [sample()], VOCABULARY, [TEXT, SHOWN], examples=examples, unseen=[2]
    )
    figures = evaluation.figures()
    assert figures["text"]["unseen_miou"] == 0
    assert figures["shown"]["unseen_miou"] > 0.7
    assert figures["shown"]["medium_miou"] > 0.7
    assert figures["shown"]["seen_miou"] > 0.9
    assert evaluation.tallies["text"].confusion.sum() == 96 * 95


def test_each_picture_is_encoded_once_and_first_scores_are_shared(runtime, bank):
    configurations = [DUAL, Configuration("r1", refine=1), Configuration("r2", refine=2), TEXT]
    evaluate_dataset(runtime, [sample(), sample(2)], VOCABULARY, configurations, bank=bank)
    assert runtime.calls["image"] == 2
    # a picture: dual once, one refinement round each (nothing moves any more), text once
    assert runtime.calls["score"] == 2 * 4


def test_parts_that_are_switched_off_are_scored_by_a_variant(runtime, bank):
    variants = []

    def variant(configuration):
        variants.append((configuration.token_wise, configuration.guidance))
        return ColourRuntime()

    evaluation = evaluate_dataset(
        runtime, [sample()], VOCABULARY, STANDARD, bank=bank, variant=variant
    )
    assert variants == [(False, True), (True, False)]
    assert list(evaluation.tallies) == [configuration.name for configuration in STANDARD]


def test_pictures_of_any_size_are_counted_at_the_size_of_their_label(runtime):
    image, label = (np.repeat(np.repeat(a, 3, 0), 2, 1)[:250, :150] for a in sample())
    evaluation = evaluate_dataset(runtime, [(image, label)], VOCABULARY, [TEXT])
    assert evaluation.tallies["text"].confusion.sum() == (label != 255).sum()
    assert evaluation.figures()["text"]["pixel_accuracy"] > 0.85  # the zorblax is lost


def test_what_cannot_be_evaluated_is_refused(runtime):
    def run(samples, configurations, **rest):
        return evaluate_dataset(runtime, samples, VOCABULARY, configurations, **rest)

    with pytest.raises(DataError, match="no labelled pictures"):
        run([], [TEXT])
    with pytest.raises(DataError, match="different names"):
        run([sample()], [TEXT, TEXT])
    with pytest.raises(DataError, match="'shown' needs examples"):
        run([sample()], [SHOWN])
    with pytest.raises(DataError, match="give variant"):
        run([sample()], [Configuration("x", guidance=False)])
    with pytest.raises(DataError, match=r"target has values in 0\.\.9"):
        run([(sample()[0], np.where(sample()[1] == 2, 9, sample()[1]))], [TEXT])
    with pytest.raises(ShapeError, match="differ in size"):
        run([(sample()[0], sample()[1][1:])], [TEXT])


def test_anything_that_labels_pictures_can_be_counted():
    def predict(image):
        return np.where(image[..., 0] > 128, 0, 1)  # red or not

    tally = tally_predictions(predict, [sample(), sample()], 3)
    assert tally.confusion[0, 0] == 2 * 48 * 95
    assert tally.confusion[2].sum() == tally.confusion[2, 1]


def test_crops_of_a_training_set_serve_as_examples(runtime):
    source = CropSource.from_samples(runtime, [sample(), sample()], NAMES, wanted=["zorblax"])
    found = source.prompts_for(Vocabulary.of(["sky", "zorblax"]))
    assert list(found) == [1]
    assert source.prompts_for(Vocabulary.of("sky")) == {}
    assert found[1].class_wise[0].argmax() == list(COLOURS).index("green")


@pytest.fixture
def evaluation(runtime, bank):
    return evaluate_dataset(
        runtime,
        [sample(shift) for shift in range(6)],
        VOCABULARY,
        [DUAL, TEXT],
        bank=bank,
        name="colours <&>",
        unseen=[2],
    )


def test_json(evaluation, tmp_path):
    evaluation.save_json(tmp_path / "result.json")
    plain = json.loads((tmp_path / "result.json").read_text())
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


def test_summary_over_sets(evaluation):
    table = markdown_summary([evaluation, evaluation], "medium_miou").splitlines()
    assert table[0] == "| medium | colours <&> | colours <&> | mean |"
    cells = [cell.strip() for cell in table[2].split("|")[2:5]]
    assert len(set(cells)) == 1


def test_html_needs_nothing_else(evaluation, tmp_path):
    one_each = replace(evaluation, best=evaluation.best[:1], worst=evaluation.worst[:1])
    save_html([one_each], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "colours &lt;&amp;&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http" not in page
    assert 'src="' in page
    assert page.count('src="data:') == page.count('src="')
