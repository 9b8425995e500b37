"""The REST interface of a real server: answers equal the `Segmenter`'s, errors are in words."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pycocotools import mask as coco

from colour_engine import paint
from dpseg import Segmenter
from dpseg.imaging.draw import palette
from dpseg.serve.logs import JsonFormatter
from dpseg.vocabulary import builtin_names
from serving import PHOTO, ask, complaint, png, wait_for

TOKEN = "a-token-of-some-length"


def picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_the_answer_is_the_segmenters(client: httpx.Client, segmenter: Segmenter) -> None:
    expected = segmenter(PHOTO, "red, blue")
    answer = ask(client).json()
    assert (answer["width"], answer["height"]) == (96, 96)
    assert [entry["name"] for entry in answer["classes"]] == ["red", "blue"]
    for index, entry in enumerate(answer["classes"]):
        np.testing.assert_array_equal(coco.decode(entry["rle"]), expected.labels == index)
        assert entry["colour"] == "#{:02x}{:02x}{:02x}".format(*palette(2)[index])
    assert answer["unlabelled_area"] == pytest.approx(expected.unlabelled_area)
    assert 0.2 < answer["classes"][0]["area"] < 0.3


def test_pictures_of_a_result_hold_its_labels(client: httpx.Client, segmenter: Segmenter) -> None:
    expected = segmenter(PHOTO, "red, blue").labels
    key = ask(client).json()["id"]
    labels = np.asarray(picture(client.get(f"/v1/results/{key}/labels.png")))
    np.testing.assert_array_equal(labels, np.where(expected < 0, 255, expected))
    index = np.asarray(picture(client.get(f"/v1/results/{key}/index.png"))).astype(int)
    np.testing.assert_array_equal(index[..., 0] + 256 * index[..., 1] - 1, expected)
    small = picture(client.get(f"/v1/results/{key}/index.png", params={"side": 24}))
    assert (
        small.size == picture(client.get(f"/v1/results/{key}/photo.jpg?side=24")).size == (24, 24)
    )
    photo = np.asarray(picture(client.get(f"/v1/results/{key}/photo.jpg"))).astype(int)
    assert abs(photo[10:40, 10:40] - PHOTO[10:40, 10:40]).mean() < 6
    faint, strong = (
        np.asarray(picture(client.get(f"/v1/results/{key}/overlay.png?opacity={opacity}")))
        for opacity in (0, 1)
    )
    assert faint.shape == strong.shape
    assert (faint != strong).any()


def test_more_than_255_classes_keep_their_indices(client: httpx.Client) -> None:
    names = [f"thing{number}" for number in range(300)]
    answer = ask(client, ",".join([*names, "red"]), unlabelled="false")
    index = np.asarray(picture(client.get(f"/v1/results/{answer.json()['id']}/index.png")))
    assert index[20, 20].astype(int) @ (1, 256, 0) == 301


def test_a_picture_can_be_the_answer(client: httpx.Client, segmenter: Segmenter) -> None:
    answer = ask(client, params={"answer": "labels"})
    expected = segmenter(PHOTO, "red, blue").labels
    np.testing.assert_array_equal(
        np.asarray(picture(answer)), np.where(expected < 0, 255, expected)
    )
    key = answer.headers["x-result-id"]
    shown = picture(ask(client, params={"answer": "overlay"}))
    assert shown.mode == "RGB"
    assert client.get(f"/v1/results/{key}/explain?x=3&y=4").status_code == 200


def test_why_is_the_segmenters(client: httpx.Client, segmenter: Segmenter) -> None:
    key = ask(client).json()["id"]
    told = client.get(f"/v1/results/{key}/explain", params={"x": 12, "y": 30}).json()
    expected = segmenter(PHOTO, "red, blue").explain(12, 30)
    assert told["label"] == expected.label == "red"
    assert told["winner"]["text_prompt"] == pytest.approx(expected.winner.text_prompt, abs=1e-3)
    assert told["runner_up"]["name"] == "blue"
    assert told["winner"]["visual_prompt"] is None


@pytest.mark.parametrize("in_alpha", [False, True])
def test_examples_with_masks_speak_for_a_name(
    client: httpx.Client, segmenter: Segmenter, in_alpha: bool
) -> None:
    shown, mask = paint(("blue", 0, 96, 0, 48)), np.zeros((96, 96), np.uint8)
    mask[:, :48] = 255
    sent = np.stack([np.full_like(mask, 255)] * 3 + [mask], axis=2) if in_alpha else mask
    files = [("examples", ("a.png", png(shown))), ("example_masks", ("m.png", png(sent)))]
    fields = {"example_classes": "blorp", "mask_of": "0", "unlabelled": "false"}
    answer = ask(client, "red", files=files, **fields).json()
    expected = segmenter(PHOTO, "red", examples={"blorp": [(shown, mask)]}, unlabelled=False)
    assert [entry["name"] for entry in answer["classes"]] == ["red", "blorp"]
    for index, entry in enumerate(answer["classes"]):
        assert entry["pixels"] == (expected.labels == index).sum()
    assert answer["classes"][1]["area"] > 0.3


def test_vocabularies_and_options_go_through(client: httpx.Client) -> None:
    answer = ask(client, "red", vocabulary="voc20", unlabelled="false", refine="1").json()
    assert len(answer["classes"]) == 21
    assert answer["unlabelled_area"] == 0
    assert answer["settings"]["refine_mode"] == "pool"
    twice = ask(client, ["red", "blue|azure, yellow"]).json()
    assert [entry["name"] for entry in twice["classes"]] == ["red", "blue", "yellow"]


def test_what_is_not_wanted_goes_through(client: httpx.Client, segmenter: Segmenter) -> None:
    answer = ask(client, "red", not_classes=["blue, green", "black"], unlabelled="false").json()
    expected = segmenter(PHOTO, "red", not_classes="blue, green, black", unlabelled=False)
    assert [entry["name"] for entry in answer["classes"]] == ["red"]
    assert answer["unlabelled_area"] == pytest.approx(expected.unlabelled_area, abs=1e-6)
    assert answer["unlabelled_area"] > 0
    assert answer["settings"]["not_classes"] == ["blue", "green", "black"]
    y, x = np.argwhere(expected.labels < 0)[0]
    told = client.get(f"/v1/results/{answer['id']}/explain?x={x}&y={y}").json()
    assert told["negative"]["name"] in ("blue", "green", "black")


@pytest.mark.parametrize("snap", [True, False])
def test_outlines_snap_if_asked(client: httpx.Client, snap: bool) -> None:
    assert ask(client, "red, green", snap=str(snap)).json()["settings"]["snap"] is snap


def test_a_least_presence_goes_through(client: httpx.Client, segmenter: Segmenter) -> None:
    answer = ask(client, "red, green", min_presence="0.5").json()
    expected = segmenter(PHOTO, "red, green", min_presence=0.5)
    assert [entry["pixels"] for entry in answer["classes"]] == list(expected.pixels.values())
    assert answer["classes"][1]["presence"] < 0.5


def test_names_may_be_of_another_language(client: httpx.Client) -> None:
    answer = ask(client, "chat", language="fr").json()
    assert [entry["name"] for entry in answer["classes"]] == ["chat"]
    assert answer["settings"]["english"] == {"chat": "cat"}
    assert not ask(client, "chat").json()["settings"]["english"]
    assert "language" in complaint(ask(client, "rouge", language="xx"), 422)


def test_the_model_finds_names(client: httpx.Client) -> None:
    answer = ask(client, "auto, red").json()
    assert answer["classes"][0]["name"] == "red"
    assert {entry["name"] for entry in answer["classes"]} == {"red", "sky", "snow"}
    yellow = [("image", ("photo.png", png(paint(ground="yellow"))))]
    said = complaint(client.post("/v1/segment", data={"classes": "auto"}, files=yellow), 422)
    assert said == "no common thing is surely in this photo; name what to find."


SAID = {"x": 20, "y": 20, "name": "blorp"}


def say(client: httpx.Client, key: str, *said: object) -> httpx.Response:
    return client.post(f"/v1/results/{key}/corrections", json={"corrections": said})


def test_a_result_can_be_corrected(client: httpx.Client, segmenter: Segmenter) -> None:
    first = ask(client, "blue").json()
    second = say(client, first["id"], SAID).json()
    before = segmenter(PHOTO, "blue")
    expected = segmenter(PHOTO, "blue", corrections=before.correct(20, 20, "blorp"))
    assert [entry["name"] for entry in second["classes"]] == ["blue", "blorp"]
    np.testing.assert_array_equal(coco.decode(second["classes"][1]["rle"]), expected.mask("blorp"))
    assert second["settings"]["corrections"] == 1
    third = say(
        client, second["id"], {"x": 70, "y": 70, "name": "blue", "wanted": False}, SAID
    ).json()
    assert third["settings"]["corrections"] == 3
    assert third["classes"][0]["area"] < second["classes"][0]["area"]
    told = client.get(f"/v1/results/{first['id']}/explain?x=20&y=20")  # undo is to go back
    assert told.json()["label"] is None


def test_corrections_are_saved_and_used_for_the_next_photo(client: httpx.Client) -> None:
    first = ask(client, "blue").json()
    assert "no corrections" in complaint(client.get(f"/v1/results/{first['id']}/corrections"), 422)
    key = say(client, first["id"], SAID).json()["id"]
    file = client.get(f"/v1/results/{key}/corrections").content
    answer = ask(client, "blue", files=[("corrections", ("c.safetensors", file))]).json()
    assert [entry["name"] for entry in answer["classes"]] == ["blue", "blorp"]
    assert answer["settings"]["corrections"] == 1
    bad = ask(client, "blue", files=[("corrections", ("c.safetensors", b"nothing"))])
    assert complaint(bad, 422) == "the file of corrections is damaged, or holds no such."


def test_names_that_the_model_found_can_be_corrected(client: httpx.Client) -> None:
    first = ask(client, "auto").json()
    second = say(client, first["id"], SAID).json()
    names = [entry["name"] for entry in second["classes"]]
    assert set(names) == {"blorp", *(entry["name"] for entry in first["classes"])}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([], "no corrections were given; give at least one."),
        ([{**SAID, "x": 96}], "pixel x=96, y=20 lies outside the photo of 96 x 96."),
        ([{**SAID, "wanted": False}], "no class is named 'blorp'; there are: blue."),
        ([{**SAID, "name": " "}], "empty"),
        ([{**SAID, "name": "black"}], "'black' is both wanted and not wanted; give it once."),
        ([{"x": 20, "y": 20}], "name: Field required"),
    ],
)
def test_bad_corrections_are_told(client: httpx.Client, said: list[object], says: str) -> None:
    key = ask(client, "blue", not_classes="black").json()["id"]
    assert says in complaint(say(client, key, *said), 422)


def test_a_correction_of_an_expired_result_is_told(client: httpx.Client) -> None:
    said = complaint(say(client, "gone", SAID), 404)
    assert said == "this result is no longer kept; segment the photo again."


def test_things_go_through(client: httpx.Client, segmenter: Segmenter) -> None:
    answer = ask(client, things="true", stuff="blue").json()
    expected = segmenter(PHOTO, "red, blue", things=True, stuff=["blue"]).instances
    assert expected is not None
    assert len(answer["instances"]) == len(expected) > 0
    for entry, one in zip(answer["instances"], expected, strict=True):
        assert (entry["name"], entry["thing"]) == (one.name, one.name != "blue")
        np.testing.assert_array_equal(coco.decode(entry["rle"]), one.mask)
    assert answer["classes"][1]["count"] is None
    assert ask(client).json()["instances"] is None


FILE = ("a.png", png(PHOTO))


@pytest.mark.parametrize(
    ("fields", "files", "says"),
    [
        ({"classes": ""}, [], "name at least one"),
        ({"classes": "red, red"}, [], "twice"),
        ({"classes": "x" * 10_000}, [], "at most 200"),
        ({"vocabulary": "../../etc/passwd"}, [], "no vocabulary"),
        ({"not_classes": " "}, [], "not wanted is empty"),
        ({"not_classes": "Red"}, [], "both wanted and not wanted"),
        ({"min_presence": "1.5"}, [], "min_presence"),
        ({"refine": "9"}, [], "refine"),
        ({"refine": "-1"}, [], "refine"),
        ({"prompts": "none"}, [], "prompts"),
        ({"unlabelled": "perhaps"}, [], "unlabelled"),
        ({"prompts": "visual"}, [], "picture"),
        ({}, [("examples", FILE)], "one name for each"),
        ({"example_classes": " "}, [("examples", FILE)], "name what"),
        ({"example_classes": "cat"}, [("examples", ("a.png", b"text"))], "example 1, of 'cat'"),
        ({"example_classes": "cat", "mask_of": "3"}, [("examples", FILE), ("example_masks", FILE)],
         "mask_of"),
        ({"example_classes": "cat"}, [("examples", FILE), ("example_masks", FILE)], "each mask"),
        ({"example_classes": "cat", "mask_of": ["0", "0"]},
         [("examples", FILE), ("example_masks", FILE), ("example_masks", FILE)], "one mask"),
        ({"example_classes": "cat", "mask_of": "0"},
         [("examples", FILE), ("example_masks", ("m.png", b"text"))], "the mask is not a picture"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_answered(
    client: httpx.Client, fields: dict[str, Any], files: list[object], says: str
) -> None:
    assert says in complaint(ask(client, **{"classes": "red", **fields}, files=files), 422)


@pytest.mark.parametrize(
    "photo", [b"", b"text", png(PHOTO)[:200], b"\x89PNG\r\n\x1a\n" + b"\0" * 90]
)
def test_photos_that_cannot_be_read(client: httpx.Client, photo: bytes) -> None:
    files = {"image": ("photo.png", photo)}
    answer = client.post("/v1/segment", data={"classes": "red"}, files=files)
    assert complaint(answer, 422)
    assert complaint(client.post("/v1/segment", data={"classes": "red"}), 422)
    assert complaint(client.post("/v1/segment", content=b"nonsense"), 422)


def test_unknown_results_and_pixels(client: httpx.Client) -> None:
    assert "no longer kept" in complaint(client.get("/v1/results/x/labels.png"), 404)
    key = ask(client).json()["id"]
    assert "outside" in complaint(client.get(f"/v1/results/{key}/explain?x=96&y=0"), 422)
    assert complaint(client.get(f"/v1/results/{key}/photo.jpg?side=100000"), 422)
    assert complaint(client.get("/nowhere"), 404)
    assert complaint(client.get("/v1/segment"), 405)


def test_bounds_of_a_question(serve: Callable[..., str]) -> None:
    address = serve(max_classes=3, max_examples=1, max_megapixels=0.01, max_megabytes=0.5)
    with httpx.Client(base_url=address, timeout=60) as client:
        assert ask(client, "red,blue").status_code == 200
        assert "at most 3" in complaint(ask(client, "a,b,c,d"), 422)
        files = [("examples", FILE), ("examples", FILE)]
        assert "at most 1" in complaint(ask(client, files=files, example_classes=["a", "b"]), 422)
        large = ("l.png", png(np.zeros((200, 200, 3), np.uint8)))
        answer = client.post("/v1/segment", data={"classes": "red"}, files={"image": large})
        assert "at most 10,000" in complaint(answer, 422)
        answer = ask(client, files=[("examples", large)], example_classes="cat")
        assert "example 1" in complaint(answer, 422)
        answer = client.post("/v1/segment", files={"image": b"\0" * 900_000})
        assert "0.5 MB" in complaint(answer, 413)
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        chunks = (head if number == 0 else b"\0" * 100_000 for number in range(10))
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/v1/segment", content=chunks, headers=kind)
        assert "0.5 MB" in complaint(answer, 413)
        assert ask(client, "red,blue").status_code == 200


def test_a_token_is_asked_for(serve: Callable[..., str]) -> None:
    with httpx.Client(base_url=serve(token=TOKEN), timeout=60) as client:
        for path in ("/v1/models", "/metrics", "/v1/results/x/labels.png"):
            assert complaint(client.get(path), 401)
        assert "Bearer" in complaint(ask(client), 401)
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xff"):
            head = {"Authorization": wrong.encode("latin-1")}
            assert client.get("/v1/models", headers=head).status_code == 401  # type: ignore[arg-type]
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == client.get("/docs").status_code == 200
        assert client.get("/openapi.json").json()["components"]["securitySchemes"]
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert ask(client).status_code == 200


def test_other_hosts_names_are_refused(client: httpx.Client) -> None:
    # A page from elsewhere whose name was made to point here must not read answers.
    assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400
    port = client.base_url.port
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert client.get("/v1/models", headers={"Host": f"{name}:{port}"}).status_code == 200


def test_models_and_health(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()
    assert model["name"] == "colour"
    assert model["vocabularies"] == list(builtin_names())
    assert model["limits"]["megapixels"] == 25
    assert client.get("/healthz").json()["status"] == "ok"


def test_metrics_count(serve: Callable[..., str]) -> None:
    def values() -> dict[tuple[str, str | None, str | None], float]:
        return {
            (sample.name, sample.labels.get("status"), sample.labels.get("route")): sample.value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
        }

    with httpx.Client(base_url=serve(), timeout=60) as client:
        for _ in range(2):
            ask(client)
        ask(client, "")
        # A request is counted when it has ended, a moment after its answer arrived.
        requests = {
            ("dpseg_http_requests_total", "200", "/v1/segment"): 2,
            ("dpseg_http_requests_total", "422", "/v1/segment"): 1,
        }
        wait_for(lambda: values().items() >= requests.items())
        counted = values()
    assert counted["dpseg_segment_seconds_count", None, None] == 3
    assert counted["dpseg_queue_waiting", None, None] == 0
    assert counted["dpseg_kept_results", None, None] == 2
    assert counted["dpseg_kept_bytes", None, None] > 2 * PHOTO.nbytes


def test_requests_are_logged_without_what_was_asked(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [JsonFormatter().format(record) for record in caplog.records]

    def logged(request: str) -> list[dict[str, object]]:
        return [line for line in map(json.loads, lines()) if line.get("request_id") == request]

    caplog.set_level(logging.INFO, logger="dpseg.serve")
    asked = ask(client, "red, secretword").headers["x-request-id"]
    client.get("/healthz", headers={"X-Request-Id": "my-own-request"})
    # A request is logged when it has ended, a moment after its answer arrived.
    wait_for(lambda: bool(logged(asked) and logged("my-own-request")))
    (line,) = logged(asked)
    assert (line["route"], line["status"], line["classes"]) == ("/v1/segment", 200, 2)
    assert "secretword" not in "".join(lines())


def test_request_ids_are_taken_or_made(client: httpx.Client) -> None:
    own = client.get("/healthz", headers={"X-Request-Id": "my-own-request"})
    assert own.headers["x-request-id"] == "my-own-request"
    strange = client.get("/healthz", headers={"X-Request-Id": 'a"b{}<script>'})
    assert re.fullmatch("[0-9a-f]{16}", strange.headers["x-request-id"])


def test_a_crash_tells_nothing(
    serve: Callable[..., str], segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inner secret")

    address = serve()
    monkeypatch.setattr(segmenter._predictor, "predict", fail)
    with httpx.Client(base_url=address, timeout=60) as client:
        assert "secret" not in complaint(ask(client), 500)
        assert client.get("/healthz").status_code == 200


def test_the_openapi_page_is_served_from_here(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text)
    for path in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page.text):
        assert client.get(path).status_code == 200, path
    schema = client.get("/openapi.json").json()
    segment = schema["paths"]["/v1/segment"]["post"]
    assert {"200", "413", "422", "429", "503"} <= set(segment["responses"])
    assert schema["components"]["schemas"]["SegmentAnswer"]["example"]["classes"]
    body = schema["components"]["schemas"]["Body_segment_v1_segment_post"]["properties"]
    assert body["classes"]["examples"] == [["car|automobile, road, sky"]]
