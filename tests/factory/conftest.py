"""A hub on this machine."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from factory.hub_server import running_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with running_hub() as (hub, address):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # whoever runs this may have set it
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield hub
