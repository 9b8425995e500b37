"""Every model, by one tester."""

import pytest

from cat_seg_reference import PATCH
from cat_seg_reference import tiny_checkpoint as cat_seg_checkpoint
from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.factory.clip import ClipModel, clip_engine
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.lite import lite_engine
from dpseg.factory.load import WEIGHTS
from err_seg_reference import tiny_checkpoint as err_seg_checkpoint
from model_tester import ModelTester
from sed_reference import tiny_checkpoint as sed_checkpoint


class TestLite(ModelTester):
    @pytest.fixture(scope="class")
    def engine(self, lite_model, text_tower):
        return lite_engine(lite_model, text_tower=text_tower)


class TestShippedGraphs(ModelTester):
    @pytest.fixture(scope="class")
    def engine(self):
        return OnnxEngine(WEIGHTS)


class TestDPSegOnClip(ModelTester):
    @pytest.fixture(scope="class")
    def engine(self, clip_config):
        return clip_engine(ClipModel(clip_config))


class TestSed(ModelTester):
    visual = False

    @pytest.fixture(scope="class")
    def engine(self, sed_config):
        return clip_engine(import_checkpoint(sed_checkpoint(), config=sed_config)[0])


class TestCatSeg(ModelTester):
    strides = 1

    @pytest.fixture(scope="class")
    def engine(self, cat_seg_config):
        return clip_engine(import_checkpoint(cat_seg_checkpoint(), config=cat_seg_config)[0])

    def positions(self, side, level):
        return side // PATCH  # all its features are the tokens of patches


class TestErrSeg(ModelTester):
    @pytest.fixture(scope="class")
    def engine(self, err_seg_config):
        return clip_engine(import_checkpoint(err_seg_checkpoint(), config=err_seg_config)[0])
