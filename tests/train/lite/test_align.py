"""Alignment from a classifier of twelve classes and a WordNet of eight nouns."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from torch.nn import functional as F

from dpseg.encoders.lite import LiteImageTower
from dpseg.train.lite import align as module
from dpseg.train.lite.align import align, embed_names, mean_head_feature
from dpseg.train.lite.wordnet import read_noun_synsets
from tiny_wordnet import CAT, CRANE_BIRD, DOG, write_wordnet

TEMPLATES = ("{}", "a photo of a {}")


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "images").mkdir()
    lines = []
    for index, wnid in enumerate((DOG, CAT, CRANE_BIRD)):
        shade = np.full((20 + index, 30, 3), 60 * index, np.uint8)
        Image.fromarray(shade).save(tmp_path / "images" / f"{wnid}.jpg")
        lines.append(f"{wnid}.jpg\t{wnid}\tname\n")
    (tmp_path / "classes.tsv").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def aligned(normal, pictures, text_tower, tmp_path, monkeypatch):
    """A tower, its alignment, and the classifier's rows."""
    rows = normal(12, 1280)
    monkeypatch.setattr(module, "load_imagenet", lambda tower: rows)
    synsets = read_noun_synsets(write_wordnet(tmp_path / "wordnet"))
    monkeypatch.setattr(module, "read_noun_synsets", lambda: synsets)
    tower = LiteImageTower(embedding_dim=6, adapter_dim=4).eval()
    return tower, align(tower, text_tower, pictures, TEMPLATES), rows


def test_prototypes_are_the_classifiers_principal_components(aligned):
    tower, alignment, rows = aligned
    pca = PCA(6).fit(rows)
    found = tower.projection.weight.detach().numpy()
    np.testing.assert_allclose(np.abs((found * pca.components_).sum(1)), 1, atol=1e-4)
    reduced = torch.from_numpy(pca.transform(rows))
    for name, classes in (("dog", [0]), ("kitty", [1]), ("animal", [0, 1, 2]), ("pet", [0])):
        other = F.normalize(reduced[classes].mean(0), dim=-1)
        for twin, twin_classes in (("cat", [1]), ("crane", [2])):
            expected = other @ F.normalize(reduced[twin_classes].mean(0), dim=-1)
            first, second = (alignment.prototypes[alignment.names.index(n)] for n in (name, twin))
            assert (first @ second).item() == pytest.approx(expected.item(), abs=1e-4)


def test_text_map_sends_names_to_their_prototypes(aligned, text_tower):
    _, alignment, _ = aligned
    text = embed_names(text_tower, ["dog", "cat", "crane"], TEMPLATES)
    assert text.shape == (2, 3, 384)
    mapped = alignment.text_map(F.normalize(text.mean(0), dim=-1))
    own = torch.stack(
        [alignment.prototypes[alignment.names.index(n)] for n in ("dog", "cat", "crane")]
    )
    likeness = mapped @ own.T
    assert likeness.argmax(1).tolist() == [0, 1, 2]
    assert likeness.diagonal().min() > 0.7


@torch.inference_mode()
def test_embedding_is_centred_on_the_mean_picture(aligned, pictures):
    tower, _, _ = aligned
    plain = copy.deepcopy(tower)
    plain.head_mean.zero_()
    plain.projection.weight.copy_(torch.eye(6, 1280))
    features = []
    for path in sorted((pictures / "images").iterdir()):
        image = torch.from_numpy(np.array(Image.open(path).resize((256, 256))))
        embedding = plain(image.permute(2, 0, 1)[None] / 255).image_embedding
        features.append(embedding.mean((0, 2, 3)))
    expected = torch.stack(features).mean(0)
    scale = tower.head_mean.abs().max().item()
    torch.testing.assert_close(tower.head_mean[:6], expected, atol=0.05 * scale, rtol=0)
    again = mean_head_feature(tower, sorted((pictures / "images").iterdir()))
    torch.testing.assert_close(again, tower.head_mean)
