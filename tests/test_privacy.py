"""Nothing leaves the machine: no library reports how it is used, whichever way in is taken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

VARIABLES = ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")

#: Tells what the variables were as soon as onnxruntime, whose code runs unseen, was asked for.
WATCH = """
import os, sys
seen = []
def watch(event, given):
    if event == "import" and given[0].split(".")[0] == "onnxruntime":
        seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.addaudithook(watch)
"""


def fresh(home: Path, **more: str) -> dict[str, str]:
    """Give the environment of a user who has said nothing and whose home is empty."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        kept.pop(name, None)
    return {**kept, "HOME": str(home), "DPSEG_CACHE": str(home / "dpseg"), **more}


def left_in(home: Path) -> list[str]:
    """List the files in a home, but for dpseg's own cache."""
    files = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if path.parts[0] != "dpseg")


@pytest.mark.parametrize(
    "module",
    [
        "engines.onnx_engine",
        "export.precision",
        "batch.ray",
        "serve.app",
        "cli",
        "segmenter",
    ],
)
def test_every_way_in_says_no_before_onnxruntime_is_there(module: str, tmp_path: Path) -> None:
    code = f"{WATCH}import dpseg.{module}; import onnxruntime; print(set(seen))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=fresh(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{'1'}"
    assert left_in(tmp_path) == []


def test_importing_says_no_for_all(tmp_path: Path) -> None:
    code = f"import os, dpseg; print(*(os.environ[name] for name in {VARIABLES}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=fresh(tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0", "1"]
    chosen = fresh(tmp_path, RAY_USAGE_STATS_ENABLED="1")
    done = subprocess.run(command, env=chosen, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.slow
def test_a_run_leaves_nothing_in_a_fresh_home(workers: str, tmp_path: Path) -> None:
    photos, home = tmp_path / "photos", tmp_path / "home"
    photos.mkdir()
    home.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 48), "navy").save(photos / f"{name}.png")
    command = [sys.executable, "-m", "dpseg", "segment", photos, "-c", "sky", "--no-overlay"]
    command += ["--workers", workers, "--out", tmp_path / "out"]
    done = subprocess.run(command, env=fresh(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert left_in(home) == []
