"""An exported model with random weights, made once by the command itself."""

import sys

import pytest
import torch

from dpseg.cli import main
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import LiteModel, save_lite
from dpseg.factory.load import MODEL_FILE


def run_export(*arguments):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["dpseg", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    """A lite model with every part in use, as training leaves it; its weights are random."""
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(anchors=6, context_blocks=1)).eval().requires_grad_(False)
    model.text_map.fit(
        torch.nn.functional.normalize(torch.randn(6, 384), dim=-1), torch.randn(6, 512)
    )
    silent = [p for p in model.parameters() if p.dim() > 1 and not p.any()]
    assert len(silent) >= 3 + 4  # an attention block and the adapter, the decoder's heads
    for weight in silent:
        torch.nn.init.normal_(weight, std=0.1)
    folder = tmp_path_factory.mktemp("trained")
    save_lite(model, folder / MODEL_FILE)
    return folder


@pytest.fixture(scope="session")
def exported_folder(trained_folder, tmp_path_factory):
    """The same model as ONNX in single precision; tests must leave the files as they are."""
    folder = tmp_path_factory.mktemp("exported")
    code = run_export(
        "--model", trained_folder, "--out", folder, "--image", "fp32", "--text", "fp32"
    )
    assert not code
    return folder
