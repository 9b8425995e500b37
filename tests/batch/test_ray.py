"""The same job on a local Ray cluster, also with a worker killed in the middle."""

import shutil
from pathlib import Path

import pytest
import ray

from batch.loading import JOB, colours, files, killed_by_black, killed_once
from dpseg.batch.folder import run_local
from dpseg.batch.ray import run_ray
from dpseg.batch.work import Task
from dpseg.errors import WorkerError

pytestmark = pytest.mark.slow

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    """Ray on this machine; its workers find the tests' modules and a cache of their own."""
    cache = tmp_path_factory.mktemp("cache")
    source = str(Path(__file__).parents[2] / "src")
    environment = {"PYTHONPATH": f"{TESTS}:{source}", "DPSEG_CACHE": str(cache)}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
        object_store_memory=100_000_000,
    )
    yield cache
    ray.shutdown()


def test_ray_writes_what_one_process_writes(cluster, tasks: list[Task], tmp_path: Path) -> None:
    here = {one.path: one.error for one in run_local(JOB, tasks, load=colours)}
    written = files(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    there = {one.path: one.error for one in run_ray(JOB, tasks, workers=2, load=colours)}
    assert there == here
    assert files(tmp_path / "out") == written
    assert all(one.skipped or one.error for one in run_ray(JOB, tasks, load=colours))


def test_a_killed_worker_loses_nothing(cluster, tasks: list[Task], tmp_path: Path) -> None:
    outcomes = list(run_ray(JOB, tasks, load=killed_once))
    assert (cluster / "killed").exists()
    assert [one.path.name for one in outcomes if one.error] == ["zz.jpg"]
    assert sorted(one.path for one in outcomes) == sorted(task.path for task in tasks)
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 6


def test_a_file_that_kills_its_worker_is_given_up(
    cluster, tasks: list[Task], tmp_path: Path
) -> None:
    outcomes = list(run_ray(JOB, tasks, load=killed_by_black))
    told = {one.path.stem: one.error for one in outcomes if one.error}
    assert sorted(told) == ["black", "zz"]
    assert "3 processes died" in told["black"]
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_an_unreachable_cluster_is_an_error(
    tasks: list[Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(WorkerError, match="cannot be reached"):
        next(run_ray(JOB, tasks, address="nowhere", load=colours))
