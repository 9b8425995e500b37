"""Reading files of other projects, and telling whose they are."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

import cat_seg_reference
import err_seg_reference
import sed_reference
from dpseg.errors import CheckpointError
from dpseg.factory.importers.published import (
    import_checkpoint,
    matching_preset,
    origin_of,
    read_checkpoint,
)

CHECKPOINTS = {
    "sed": sed_reference.tiny_checkpoint(),
    "err-seg": err_seg_reference.tiny_checkpoint(),
    "cat-seg": cat_seg_reference.tiny_checkpoint(),
}


@pytest.fixture(params=CHECKPOINTS)
def kind(request):
    return request.param


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "iteration": 79999, "trainer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: state,
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
    ids=["whole", "stripped", "bare", "parallel"],
)
def test_all_shapes_of_a_file_are_read(kind, wrap, tmp_path):
    path = tmp_path / "model_final.pth"
    torch.save(wrap(CHECKPOINTS[kind]), path)
    torch.testing.assert_close(read_checkpoint(path), CHECKPOINTS[kind])


def test_files_of_other_formats_are_read(kind, tmp_path):
    old, safe = tmp_path / "old.pth", tmp_path / "model.safetensors"
    torch.save({"model": CHECKPOINTS[kind]}, old, _use_new_zipfile_serialization=False)
    save_file(CHECKPOINTS[kind], safe)
    for path in (old, safe):
        torch.testing.assert_close(read_checkpoint(path), CHECKPOINTS[kind])


def test_kinds_are_told_apart(kind):
    assert origin_of(CHECKPOINTS[kind]).network == kind


def test_other_kinds_are_refused():
    with pytest.raises(CheckpointError, match="no checkpoint of SED or ERR-Seg or CAT-Seg"):
        origin_of({"backbone.weight": torch.zeros(1)})


class Trap:
    def __reduce__(self):
        return (print, ("code in a checkpoint ran",))


def truncated(path):
    torch.save({"model": CHECKPOINTS["sed"]}, path)
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"no checkpoint"), "cannot be read"),
        (
            lambda path: path.write_bytes(pickle.dumps({"model": Trap()}, protocol=2)),
            "cannot be read",
        ),
        (lambda path: torch.save({"model": Trap()}, path), "cannot be read"),
        (truncated, "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (lambda path: torch.save({"model": 3}, path), "no state dict"),
        (lambda path: None, "no checkpoint at"),
    ],
    ids=["empty", "text", "code", "code in a zip", "cut", "folder", "list", "number", "absent"],
)
def test_what_is_no_checkpoint_is_refused(write, message, tmp_path, capsys):
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("network", "large", "known"),
    [
        ("sed", "sed-convnext-l", "sed-convnext-b: 640"),
        ("err-seg", "err-seg-convnext-l", "err-seg-convnext-b: 640"),
        ("cat-seg", "cat-seg-vit-l", "cat-seg-vit-b: 512"),
        ("dpseg", "dpseg-convnext-l", "dpseg-convnext-b: 640"),
    ],
)
def test_size_is_found_by_the_joint_space(network, large, known):
    origin = origin_of(CHECKPOINTS["err-seg" if network == "dpseg" else network])

    def preset(dimension):
        key = next(key for key in CHECKPOINTS[origin.network] if key.endswith("text_projection"))
        return matching_preset(list(origin.parts({key: torch.zeros(1, dimension)})), network)

    assert (preset(768).name, preset(768).pretrained) == (large, None)
    with pytest.raises(CheckpointError, match=rf"99 dimensions.*{known}"):
        preset(99)


def test_a_checkpoint_becomes_its_own_network_or_dpseg(kind):
    other = {"sed": "err-seg", "err-seg": "cat-seg", "cat-seg": "sed"}[kind]
    with pytest.raises(CheckpointError, match=f"cannot become a network '{other}'"):
        import_checkpoint(CHECKPOINTS[kind], network=other)
