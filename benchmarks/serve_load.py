"""Let 8 clients ask a server of its own for 60 seconds.

    python benchmarks/serve_load.py

Starts `dpseg serve` as a process, sends photos of two sizes with a few names, and some clicks for
*why*. Fails on any answer but 200, 429 and 503, on a lost connection, and on memory that grows:
the median resident memory of the last quarter must lie within 10% (or 64 MB) of the second
quarter's. Times are of the answers with 200, from the first byte sent to the last one received.
Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from skimage import data

ALLOWED = {200, 429, 503}
NAMES = "person, spacesuit, flag, cat, sky, wall, floor, table, cup, spoon"
#: Seconds that a refused client waits before it asks again.
PAUSE = 0.2
#: Memory may grow by this share, or by this much, from the second quarter to the last one.
GROWTH, GROWTH_MEGABYTES = 1.10, 64


@dataclass
class Answers:
    """What the clients saw."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, code: str, seconds: float) -> None:
        """Count an answer, or the name of an error."""
        with self.lock:
            self.codes[code] += 1
            if code == "200":
                self.seconds.append(seconds)


def encoded(pixels: np.ndarray, size_wh: tuple[int, int]) -> bytes:
    """Write a photo as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size_wh).save(file, "JPEG", quality=90)
    return file.getvalue()


def ask(address: str, photos: list[bytes], answers: Answers, end: float, seed: int) -> None:
    """Be one client."""
    random = np.random.default_rng(seed)
    with httpx.Client(base_url=address, timeout=120) as client:
        while time.monotonic() < end:
            photo = photos[int(random.integers(len(photos)))]
            start = time.monotonic()
            try:
                answer = client.post(
                    "/v1/segment", data={"classes": NAMES}, files={"image": ("p.jpg", photo)}
                )
            except httpx.HTTPError as error:
                answers.add(type(error).__name__, 0)
                continue
            answers.add(str(answer.status_code), time.monotonic() - start)
            if answer.status_code != 200:
                time.sleep(PAUSE)
            elif random.random() < 0.3:
                place = {"x": 20, "y": 20}
                why = client.get(f"/v1/results/{answer.json()['id']}/explain", params=place)
                if why.status_code not in (200, 404):  # 404: others have pushed the result out
                    answers.add(f"why {why.status_code}", 0)


def resident_megabytes(address: str) -> float:
    """Read the server's memory off its metrics."""
    families = text_string_to_metric_families(httpx.get(f"{address}/metrics", timeout=60).text)
    return next(
        sample.value / 1e6
        for family in families
        for sample in family.samples
        if sample.name == "process_resident_memory_bytes"
    )


def main() -> None:
    """Measure, print, and fail if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    arguments = parser.parse_args()
    photos = [encoded(data.astronaut(), (640, 480)), encoded(data.coffee(), (1600, 1200))]
    command = [sys.executable, "-m", "dpseg", "serve", "--port", "0", "--model", arguments.model]
    command += ["--queue", str(arguments.queue)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        answers, end = Answers(), time.monotonic() + arguments.seconds
        clients = [
            threading.Thread(target=ask, args=(address, photos, answers, end, seed))
            for seed in range(arguments.clients)
        ]
        for client in clients:
            client.start()
        memory = []
        while time.monotonic() < end:
            memory.append(resident_megabytes(address))
            time.sleep(0.5)
        for client in clients:
            client.join()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(90)
    quarter = max(1, len(memory) // 4)
    before = statistics.median(memory[quarter : 2 * quarter] or memory)
    after = statistics.median(memory[-quarter:])
    times = sorted(answers.seconds)
    report = {
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "answers": dict(answers.codes),
        "answers_per_second": round(len(times) / arguments.seconds, 2),
        "p50_seconds": round(times[len(times) // 2], 3) if times else None,
        "p95_seconds": round(times[int(0.95 * (len(times) - 1))], 3) if times else None,
        "resident_megabytes": {"second quarter": round(before), "last quarter": round(after)},
    }
    print(json.dumps(report, indent=2))
    wrong = {code for code in answers.codes if code not in map(str, ALLOWED)}
    grown = after > max(GROWTH * before, before + GROWTH_MEGABYTES)
    if wrong or grown or not times:
        sys.exit(f"failed: answers {sorted(wrong)}, memory {before:.0f} -> {after:.0f} MB")


if __name__ == "__main__":
    main()
