"""Several labelled folders as one training set."""

import numpy as np
import pytest

from dpseg.data.mixture import Mixture, SourceSettings
from dpseg.errors import DataError
from labelled_folder import halves, write_folder


@pytest.fixture
def root(tmp_path):
    """Two sets with one idea of a class, one that overlaps them, and photos without labels."""
    pets = {f"p{i}": halves(i % 3, 255) for i in range(6)}
    write_folder(tmp_path / "pets", {0: "background", 1: "cat", 2: "dog"}, pets)
    parks = {"q0": halves(0, 1), "q1": halves(1, 2)}
    write_folder(tmp_path / "parks", {0: "grass", 1: "cat", 2: "water"}, parks)
    write_folder(tmp_path / "clothes", {0: "null", 1: "shirt"}, {"c0": halves(0, 1)})
    write_folder(tmp_path / "web", {0: "nothing"}, {"w0": halves(0, 0), "w1": halves(1, 1)})
    return tmp_path


PETS = SourceSettings("pets", repeat=2, exclusive=True)
PARKS = SourceSettings("parks", exclusive=True, too_coarse=("water",))
CLOTHES = SourceSettings("clothes", repeat=3)
WEB = SourceSettings("web", labelled=False)
NAMES = ["cat", "dog", "grass", "shirt", "water"]


def ruled_out(mixture, source, label):
    """Name what a label of a source rules out."""
    row = mixture.excludes[source, -1 if label == "background" else mixture.names.index(label)]
    return {name for name, out in zip(mixture.names, row, strict=True) if out}


def test_labels_become_positions_in_one_list_of_names(root):
    mixture = Mixture(root, [PETS, PARKS, CLOTHES, WEB])
    assert mixture.names == NAMES
    labels = {sample.key: set(np.unique(sample.label)) for _, sample in mixture.samples}
    assert labels["p0"] == {-2, -1}
    assert labels["p1"] == {NAMES.index("cat"), -1}
    assert labels["p2"] == {NAMES.index("dog"), -1}
    assert labels["q0"] == {NAMES.index("grass"), NAMES.index("cat")}
    assert labels["q1"] == {NAMES.index("cat"), NAMES.index("water")}
    assert labels["c0"] == {-2, NAMES.index("shirt")}  # a set of a single name
    assert labels["w0"] == {-1}


def test_labels_rule_out_what_their_set_and_its_allies_could_have_said(root):
    mixture = Mixture(root, [PETS, PARKS, CLOTHES, WEB])
    assert ruled_out(mixture, 0, "cat") == {"dog", "grass", "water"}
    assert ruled_out(mixture, 0, "background") == {"cat", "dog"}
    assert ruled_out(mixture, 1, "grass") == {"cat", "dog", "water"}
    assert ruled_out(mixture, 1, "water") == {"cat", "grass"}  # there may be a dog in it
    assert ruled_out(mixture, 1, "background") == set()  # this set has none
    assert ruled_out(mixture, 2, "shirt") == set()  # a cat may wear it
    assert ruled_out(mixture, 2, "background") == {"shirt"}
    assert not mixture.excludes[3].any()


def test_an_epoch_shows_each_photo_as_often_as_its_source_says(root):
    mixture = Mixture(root, [PETS, PARKS, CLOTHES, WEB])
    order = mixture.epoch(np.random.default_rng(0))
    seen = [mixture.samples[i][1].key for i in order]
    expected = {f"p{i}": 2 for i in range(6)} | {"q0": 1, "q1": 1, "c0": 3, "w0": 1, "w1": 1}
    assert {key: seen.count(key) for key in seen} == expected
    again = mixture.epoch(np.random.default_rng(0))
    np.testing.assert_array_equal(order, again)
    assert order.tolist() != mixture.epoch(np.random.default_rng(1)).tolist()


def test_held_out_photos_are_not_trained_on(root):
    mixture = Mixture(root, [SourceSettings("pets", holdout_every=3), PARKS])
    assert [(s, sample.key) for s, sample in mixture.holdout] == [(0, "p0"), (0, "p3")]
    trained = [sample.key for _, sample in mixture.samples]
    assert trained == ["p1", "p2", "p4", "p5", "q0", "q1"]


def test_unseen_names_leave_no_trace(root):
    mixture = Mixture(root, [PETS, PARKS], unseen=frozenset({"cat", "unicorn"}))
    assert mixture.names == ["dog", "grass", "water"]
    labels = {sample.key: set(np.unique(sample.label)) for _, sample in mixture.samples}
    assert labels["p1"] == {-1}
    assert labels["q0"] == {mixture.names.index("grass"), -1}
    assert ruled_out(mixture, 1, "grass") == {"dog", "water"}
    assert ruled_out(mixture, 0, "background") == {"dog"}


def test_source_without_photos_is_refused(tmp_path):
    with pytest.raises(DataError, match="no photos"):
        Mixture(tmp_path, [WEB])


def test_unknown_too_coarse_class_is_refused(root):
    with pytest.raises(DataError, match=r"parks has no class \['watre'\]"):
        Mixture(root, [SourceSettings("parks", too_coarse=("watre",))])
    Mixture(root, [PARKS], unseen=frozenset({"water"}))


def test_photos_of_rare_names_are_shown_more_often(tmp_path):
    photos = {f"p{i}": halves(1 if i else 2, 255) for i in range(100)}
    write_folder(tmp_path / "pets", {1: "cat", 2: "axolotl"}, photos)
    mixture = Mixture(tmp_path, [SourceSettings("pets")], repeat_factor_max=4.0)
    generator = np.random.default_rng(0)
    shown = np.concatenate([mixture.epoch(generator) for _ in range(100)])
    keys = np.array([mixture.samples[i][1].key for i in shown])
    assert (keys == "p1").sum() == 100
    assert 125 < (keys == "p0").sum() < 157  # sqrt(0.02 * 100 / 1)


def test_halves_share_no_photo_and_keep_all_names(root):
    mixture = Mixture(root, [PETS, PARKS, CLOTHES, WEB])
    halves = [mixture.half(which) for which in (0, 1)]
    keys = [{sample.key for _, sample in half.samples} for half in halves]
    assert all(keys)
    assert not keys[0] & keys[1]
    assert keys[0] | keys[1] == {sample.key for _, sample in mixture.samples}
    for half in halves:
        assert half.names == mixture.names
        order = half.epoch(np.random.default_rng(0))
        assert set(order) == set(range(len(half.samples)))


def test_a_wider_name_is_ruled_in_and_never_out(root):
    write_folder(root / "breeds", {0: "background", 1: "poodle"}, {"b0": halves(1, 0)})
    breeds = SourceSettings("breeds", exclusive=True)
    mixture = Mixture(
        root, [PETS, breeds], hypernyms={"poodle": ["dog", "animal"], "dog": ["animal"]}
    )
    assert mixture.names == ["animal", "cat", "dog", "poodle"]
    ruled_in = {mixture.names[i] for i in np.flatnonzero(mixture.includes[3])}
    assert ruled_in == {"poodle", "dog", "animal"}
    assert ruled_out(mixture, 1, "poodle") == {"cat"}
    assert ruled_out(mixture, 0, "dog") == {"cat"}  # it may be a poodle
    assert ruled_out(mixture, 0, "cat") == {"dog", "poodle", "animal"}
    assert ruled_out(mixture, 1, "background") == {"poodle", "dog", "animal"}


def test_distractors_are_ruled_out_on_things(root):
    words = {"cat": ["wall"], "dog": ["wall", "lamp"], "grass": ["sky"]}
    sources = [PETS, PARKS, SourceSettings("clothes")]
    mixture = Mixture(root, sources, distractors=lambda name: words.get(name, []))
    assert mixture.names == ["cat", "dog", "grass", "lamp", "shirt", "wall", "water"]
    assert ruled_out(mixture, 0, "cat") == {"dog", "grass", "water", "wall"}
    assert ruled_out(mixture, 0, "dog") == {"cat", "grass", "water", "wall", "lamp"}
    assert ruled_out(mixture, 0, "background") == {"cat", "dog"}
    assert ruled_out(mixture, 1, "cat") == {"dog", "grass", "water"}  # labels no background


def test_renamed_classes_join_those_of_other_sets(root):
    renamed = SourceSettings("clothes", renamed={"shirt": "cat"}, pasted=True)
    mixture = Mixture(root, [PETS, renamed])
    assert mixture.names == ["cat", "dog"]
    assert [sample.key for _, sample in mixture.cutouts] == ["c0"]
    assert set(np.unique(mixture.cutouts[0][1].label)) == {-2, 0}
    assert mixture.pasted_names.tolist() == []  # another set shows cats too
    alone = Mixture(root, [PETS, SourceSettings("clothes", pasted=True)])
    assert [alone.names[i] for i in alone.pasted_names] == ["shirt"]


def test_taught_photos_can_be_left_out(root):
    mixture = Mixture(root, [SourceSettings("pets", repeat=2, taught=True), PARKS, CLOTHES])
    people = mixture.labelled_by_people()
    assert [sample.key for _, sample in people.samples] == ["q0", "q1", "c0"]
    assert people.names == mixture.names == NAMES
    shown = [people.samples[i][1].key for i in people.epoch(np.random.default_rng(0))]
    assert sorted(shown) == ["c0", "c0", "c0", "q0", "q1"]


def test_few_photos_of_each_name_are_shown_once(root):
    mixture = Mixture(root, [PETS, PARKS, CLOTHES, WEB]).few_of_each(1)
    keys = [sample.key for _, sample in mixture.samples]
    assert keys == ["p1", "p2", "q0", "q1", "c0"]  # cat, dog, grass, water, shirt
    assert sorted(mixture.epoch(np.random.default_rng(0))) == list(range(5))


def test_labels_of_people_stand_and_a_network_fills_what_is_silent(root):
    pets = {f"p{i}": halves(i % 3, 255) for i in range(2)}  # p0 background, p1 cat
    write_folder(root / "taught", {0: "grass", 1: "cat"}, {k: halves(0, 1) for k in pets})
    taught = SourceSettings("taught", taught=True, exclusive=True, kept_from="pets")
    mixture = Mixture(root, [PETS, taught])
    grass, cat = (mixture.names.index(name) for name in ("grass", "cat"))
    labels = {sample.key: sample.label for source, sample in mixture.samples if source == 1}
    left, right = (labels[key][0, [0, -1]] for key in ("p0", "p1"))
    assert left.tolist() == [grass, -1]  # that the rest is a cat, people would have said
    assert right.tolist() == [cat, -1]
    assert ruled_out(mixture, 1, "background") == {"cat", "dog"}
    assert ruled_out(mixture, 1, "grass") == {"cat", "dog"}
