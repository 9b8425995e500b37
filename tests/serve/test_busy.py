"""Too much at once: a server under load refuses in words, forgets nobody, and stays well."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving import HeldRuntime, ask, complaint, wait_for

Held = tuple[str, HeldRuntime]


@pytest.fixture
def held(serve: Callable[..., str]) -> Iterator[Callable[..., Held]]:
    engines = []

    def start(**settings: object) -> Held:
        engine = HeldRuntime()
        engine.go.clear()
        engines.append(engine)
        return serve(engine, **settings), engine

    yield start
    for engine in engines:
        engine.go.set()


def waiting(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    names = ("dpseg_queue_waiting", "dpseg_queue_running")
    return {
        name: float(line.split()[1]) for line in lines for name in names if line.startswith(name)
    }


def test_a_full_queue_refuses_and_recovers(held: Callable[..., Held]) -> None:
    address, engine = held(queue=2)
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor() as pool:
        jobs = [pool.submit(ask, client) for _ in range(3)]
        wait_for(lambda: waiting(client) == {"dpseg_queue_waiting": 2, "dpseg_queue_running": 1})
        refused = ask(client)
        assert "too many" in complaint(refused, 429)
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200
        engine.go.set()
        assert [job.result().status_code for job in jobs] == [200] * 3
        assert ask(client).status_code == 200


def test_a_request_can_see_where_it_stands(held: Callable[..., Held]) -> None:
    address, engine = held()
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor() as pool:
        jobs = []
        for name in ("first-request", "second-request", "third-request"):
            with_id = httpx.Client(base_url=address, timeout=60, headers={"X-Request-Id": name})
            jobs.append(pool.submit(ask, with_id))
            wait_for(
                lambda name=name: client.get(f"/v1/progress/{name}").json()["state"] != "unknown"
            )
        wait_for(lambda: client.get("/v1/progress/first-request").json()["state"] == "running")
        third = client.get("/v1/progress/third-request").json()
        assert (third["state"], third["ahead"]) == ("waiting", 1)
        engine.go.set()
        assert all(job.result().status_code == 200 for job in jobs)
        assert client.get("/v1/progress/first-request").json()["state"] == "unknown"


def test_a_late_answer_is_given_up(held: Callable[..., Held]) -> None:
    address, engine = held(timeout_seconds=1)
    with httpx.Client(base_url=address, timeout=60) as client:
        assert "1 seconds" in complaint(ask(client), 503)
        engine.go.set()
        wait_for(lambda: waiting(client)["dpseg_queue_running"] == 0)
        wait_for(lambda: ask(client).status_code == 200)


def test_a_client_that_leaves_frees_its_place(held: Callable[..., Held]) -> None:
    address, engine = held(queue=1)
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(ask, client)
        assert engine.entered.acquire(timeout=60)
        impatient = httpx.Client(base_url=address, timeout=httpx.Timeout(60, read=0.3))
        with pytest.raises(httpx.ReadTimeout):
            ask(impatient)
        impatient.close()
        wait_for(lambda: waiting(client)["dpseg_queue_waiting"] == 0)
        engine.go.set()
        assert first.result().status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(serve: Callable[..., str]) -> None:
    address = httpx.URL(serve(timeout_seconds=0.4))
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        start = time.monotonic()
        assert b" 408 " in connection.recv(4096).splitlines()[0]
        assert time.monotonic() - start < 5


def test_many_clients_get_answers_or_a_refusal(serve: Callable[..., str]) -> None:
    address, codes, lock = serve(queue=3), [], threading.Lock()

    def many() -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            for _ in range(4):
                code = ask(client).status_code
                with lock:
                    codes.append(code)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 32
    assert set(codes) <= {200, 429}
    assert 200 in codes
