"""Label Studio gets masks that it draws as they are, over its own kind of requests."""

import base64
import http.server
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from colour_engine import ColourEngine, paint
from dpseg import DataError, ImageError, Segmenter
from dpseg.interop.label_studio import (
    encode_brush,
    read_interface,
    to_prediction,
)
from dpseg.interop.label_studio_backend import Pictures, label_studio_app
from dpseg.interop.rings import fill
from interop.brush import decode_brush

BRUSH = """
<View>
  <Image name="photo" value="$picture"/>
  <BrushLabels name="tag" toName="photo">
    <Label value="red|crimson"/><Label value="Blue"/>
  </BrushLabels>
</View>"""
POLYGONS = BRUSH.replace("BrushLabels", "PolygonLabels")
PHOTO = paint(("red", 8, 48, 8, 64), ("blue", 64, 88, 40, 88), ("white", 24, 32, 24, 40))


@pytest.fixture
def segmenter(cache) -> Segmenter:
    return Segmenter(ColourEngine(), cache=cache)


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


def test_brushes_are_those_of_label_studio() -> None:
    """The bytes are what label-studio-sdk 2.1.2 encodes (`converter.brush.encode_rle`)."""
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = mask[4, 0] = True
    assert encode_brush(mask) == [
        0, 0, 0, 140, 57, 27, 254, 35, 0, 191, 255, 108, 2, 255, 254, 31, 0, 143, 255, 11, 128, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (120, 90), (2, 40_000)])
def test_brushes_come_back_the_same(size_hw: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for mask in (random.random(size_hw) < 0.3, np.ones(size_hw, bool), np.zeros(size_hw, bool)):
        np.testing.assert_array_equal(decode_brush(encode_brush(mask), size_hw), mask)


def test_predictions_hold_the_labels(segmenter: Segmenter) -> None:
    interface = read_interface(BRUSH)
    result = segmenter(PHOTO, interface.vocabulary)
    prediction = to_prediction(result, interface)
    back = np.full(result.labels.shape, -1)
    for entry in prediction["result"]:
        assert (entry["from_name"], entry["to_name"], entry["type"]) == (
            "tag", "photo", "brushlabels",
        )  # fmt: skip
        (label,) = entry["value"]["brushlabels"]
        mask = decode_brush(entry["value"]["rle"], result.labels.shape)
        back[mask] = ["red|crimson", "Blue"].index(label)
    np.testing.assert_array_equal(back, result.labels)
    assert 0 < prediction["score"] <= 1


def test_polygons_hold_the_labels(segmenter: Segmenter) -> None:
    interface = read_interface(POLYGONS)
    result = segmenter(PHOTO, interface.vocabulary)
    height, width = result.labels.shape
    back = np.full((height, width), -1)
    for entry in to_prediction(result, interface)["result"]:
        corners = np.array(entry["value"]["points"]) * (width / 100, height / 100)
        (label,) = entry["value"]["polygonlabels"]
        back[fill([np.round(corners * 2) / 2], (height, width))] = ["red|crimson", "Blue"].index(
            label
        )
    np.testing.assert_array_equal(back, result.labels)


@pytest.mark.parametrize("config", ["", "<View>", "<View><Text name='t'/></View>"])
def test_other_interfaces_are_refused(config: str) -> None:
    with pytest.raises(DataError, match="labelling interface"):
        read_interface(config)


def test_the_backend_answers_as_label_studio_asks(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(PHOTO))
    client = TestClient(label_studio_app(segmenter, Pictures(folder=tmp_path)))
    assert client.get("/health").json()["status"] == "UP"
    setup = client.post("/setup", json={"project": "1.1", "schema": BRUSH}).json()
    embedded = "data:image/png;base64," + base64.b64encode(png(PHOTO)).decode()
    addresses = ("/data/local-files/?d=one.png", embedded)
    tasks = [{"id": k, "data": {"picture": address}} for k, address in enumerate(addresses)]
    answer = client.post("/predict", json={"tasks": tasks, "label_config": BRUSH}).json()
    first, second = answer["results"]
    assert first == second
    assert first["model_version"] == setup["model_version"]
    labels = {entry["value"]["brushlabels"][0] for entry in first["result"]}
    assert labels == {"red|crimson", "Blue"}


def test_what_is_wrong_is_told(segmenter: Segmenter, tmp_path: Path) -> None:
    client = TestClient(label_studio_app(segmenter, Pictures(folder=tmp_path)))
    task = {"data": {"picture": "/data/local-files/?d=../secret"}}
    answer = client.post("/predict", json={"tasks": [task], "label_config": BRUSH})
    assert answer.status_code == 422
    assert "outside" in answer.json()["detail"]
    assert client.post("/predict", json={"tasks": [], "label_config": "<a>"}).status_code == 422


def test_pictures_come_from_label_studio_alone() -> None:
    seen: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"bytes")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    pictures = Pictures(server=home, token="abc")
    try:
        assert pictures.load("/data/upload/1/x.png") == b"bytes"
        assert pictures.load(f"{home}/x.png") == b"bytes"
        assert seen[0] == ("/data/upload/1/x.png", "Token abc")
        before = len(seen)
        for address in ("http://127.0.0.1:1/x.png", "file:///etc/hosts", "//evil.example/x.png"):
            with pytest.raises(ImageError, match="is not fetched"):
                pictures.load(address)
        assert len(seen) == before
        with pytest.raises(ImageError, match="302"):
            pictures.load("/away")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(ImageError, match="no address"):
        Pictures().load("/data/upload/1/x.png")
    with pytest.raises(ImageError, match="base64"):
        Pictures().load("data:image/png,xyz")
