"""`dpseg serve` as a process: refuses what it must before it loads, and stops gracefully."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dpseg import Segmenter
from dpseg.cli import main
from serving import ask, wait_for

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
LOG = "log.jsonl"
#: The command itself, with a model that knows colours and takes two seconds a photo.
SLOW = """
import time
from common_words import CommonWords
from dpseg import Segmenter, cli

class Slow(CommonWords):
    def encode_image(self, image):
        time.sleep(2 * (image.sum() > 0))
        return super().encode_image(image)

Segmenter.from_pretrained = lambda _, **__: Segmenter(Slow())
cli.main()
"""


@pytest.fixture
def never_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "from_pretrained", lambda _, **__: pytest.fail("loaded"))


def run(*arguments: object) -> int:
    sys.argv = ["dpseg", "serve", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("never_loads")
def test_unsafe_addresses_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--host", "0.0.0.0") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dpseg: 0.0.0.0 can be reached")
    assert run("--timeout", 0) == 1
    assert "timeout_seconds" in capsys.readouterr().err


@pytest.mark.usefixtures("never_loads")
def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run("--port", other.getsockname()[1]) == 1
    assert "Choose another --port" in capsys.readouterr().err


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    paths = [str(TESTS), str(TESTS.parent / "src")]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "DPSEG_CACHE": str(tmp_path)
    }  # fmt: skip
    with (tmp_path / LOG).open("w") as log:  # a pipe that nobody reads would fill up
        one = subprocess.Popen(
            [sys.executable, "-c", SLOW, "serve", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        yield one
        one.kill()
        one.communicate()


def test_a_stop_gives_the_answers_under_way(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    answers: list[httpx.Response] = []
    client = httpx.Client(base_url=address, timeout=60, headers={"X-Request-Id": "under-way"})
    asking = threading.Thread(target=lambda: answers.append(ask(client)))
    asking.start()
    progress = f"{address}/v1/progress/under-way"
    wait_for(lambda: httpx.get(progress, timeout=60).json()["state"] == "running")
    process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert [answer.status_code for answer in answers] == [200]
    assert process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
    log = (tmp_path / LOG).read_text()
    assert '"event": "start"' in log
    assert '"event": "stop"' in log
    assert "Traceback" not in log
