"""Every row of "Models" in docs/errors.md, given for real; what needs a network, by its test."""

import pytest

from dpseg.engines.devices import split_device
from dpseg.factory.calibration import read_threshold, write_threshold
from dpseg.factory.config import PRESETS
from dpseg.factory.load import load_engine
from errors_page.section import Section

models = Section("Models: `CheckpointError`")


@pytest.mark.parametrize("given", models.rows, ids=str)
def test_row(given, request):
    models.check(given, request)


@models.row("a name that is no preset, or a folder without weights")
def _(tmp_path):
    for given in ("dpseg-huge", tmp_path):
        with models.refused(", ".join(PRESETS)):
            load_engine(given)


models.proven(
    "damaged weights, or weights of another kind",
    "factory/test_lite.py::test_damaged_file_is_refused",
    "factory/test_clip.py::test_damaged_files_are_refused",
)


@models.row("a device that is not there, or that is unknown")
def _():
    with models.refused("has no OpenVINO.*it has .*CPU", kind="DeviceError"):
        load_engine("dpseg-lite", device="openvino")
    with models.refused("'gpu'; give one of auto, cpu, cuda", kind="DeviceError"):
        split_device("gpu")


models.proven(
    "an open_clip name that says too little, or whose weights cannot be had",
    "factory/test_clip.py::test_names_that_say_too_little_are_refused",
    "encoders/test_open_clip.py::test_what_cannot_be_had_is_refused",
)

models.proven(
    "an ERR-Seg or CAT-Seg preset whose repository cannot be reached, is gone or gated, "
    "or does not hold its checkpoint any more",
    "factory/importers/test_fetch.py::test_a_repository_without_the_checkpoint_is_told",
    "factory/importers/test_fetch.py::test_a_vanished_or_gated_repository_is_told",
    "factory/importers/test_fetch.py::test_no_network_is_told",
)


@models.row("a calibration that is damaged or belongs to other weights")
def _(tmp_path):
    path = tmp_path / "calibration.json"
    write_threshold(path, "other", 0.5, "a test")
    with models.refused("other weights; .*calibrate again"):
        read_threshold(path, "mine")
    path.write_text("{")
    with models.refused("damaged; .*calibrate again"):
        read_threshold(path, "mine")


models.proven(
    "a SED preset by name", "factory/test_clip.py::test_names_that_say_too_little_are_refused"
)

models.proven(
    "a checkpoint for `dpseg import` that is damaged, holds code, is not SED's, ERR-Seg's or "
    "CAT-Seg's, lacks a tensor, has one too many or has another size",
    "factory/importers/test_published.py::test_what_is_no_checkpoint_is_refused",
    "factory/importers/test_published.py::test_other_kinds_are_refused",
    "factory/importers/test_import_sed.py::test_incomplete_checkpoint_is_refused",
    "factory/importers/test_import_err_seg.py::test_extra_keys_are_refused_or_told",
    "factory/importers/test_import_err_seg.py::test_other_shapes_are_refused",
    "factory/importers/test_import_cat_seg.py::test_incomplete_checkpoint_is_refused",
    "commands/test_import_command.py::test_what_is_no_checkpoint_ends_in_one_line",
)

models.proven(
    "a bank in the model's folder that belongs to other weights",
    "factory/test_load.py::test_bank_of_another_encoder_is_refused",
)

models.proven(
    "an exported graph or tokenizer that is damaged, graphs of two exports, "
    "or of other weights than those beside them",
    "export/test_export.py::test_damaged_files_are_named",
    "export/test_export.py::test_graphs_of_two_exports_are_refused",
    "export/test_shared.py::test_other_weights_beside_the_graphs_are_refused",
)

models.proven(
    "`dpseg export` of a model on CLIP towers that are no ConvNeXt, "
    "or of one on CLIP towers with `int8`",
    "export/test_clip_export.py::test_models_on_vision_transformers_are_refused",
    "export/test_clip_export.py::test_a_folder_of_graphs_runs_by_itself",
)

models.proven(
    "the package with the ImageNet weights is not installed",
    "encoders/test_lite_tower.py::test_missing_imagenet_package_is_named",
)

models.proven(
    "a training folder whose checkpoint is damaged, or belongs to another stage or other settings",
    "train/test_loop.py::test_damaged_checkpoint_is_refused",
    "train/test_loop.py::test_checkpoint_of_another_stage_is_refused",
    "train/test_loop.py::test_checkpoint_of_other_settings_is_refused",
)

models.proven(
    "a checkpoint that cannot be written, or gradients that are not finite",
    "train/test_loop.py::test_full_disk_leaves_the_last_good_checkpoint",
    "train/test_loop.py::test_weights_that_are_no_numbers_are_not_kept",
)

models.proven(
    "`dpseg train --start` with a folder of another model than the recipe's",
    "train/clip/test_train_clip.py::test_what_is_wrong_is_said_before_anything_is_computed",
)
