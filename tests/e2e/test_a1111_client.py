"""A client of AUTOMATIC1111 (webuiapi) against a real server, and requests as others write them."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
import webuiapi
from live_server import LiveServer, serve
from PIL import Image

from detector.service import Depth
from detector.wiring import build_detector
from provenance.imaging import open_candidate
from provenance.types import Scope
from registry.wiring import open_api_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.types import Verdict

SMALL = {"prompt": "a red house", "width": 256, "height": 256, "steps": 2, "seed": 5}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "loras").mkdir()
    (home / "loras" / "ink.safetensors").write_bytes(b"listed by its name alone")
    more = f"lora_folder = {json.dumps(str(home / 'loras'))}\n"
    serving = '[serve]\nrequire_api_key = "generate"\npreviews_every = 2\n'
    with serve(home, more + serving) as live:
        yield live


@pytest.fixture(scope="module")
def key(server: LiveServer) -> str:
    return open_api_keys(server.settings).create("client", [Scope.GENERATE])[1]


@pytest.fixture(scope="module")
def client(server: LiveServer, key: str) -> webuiapi.WebUIApi:
    # Its only way to name itself: a user and a password.
    return webuiapi.WebUIApi(
        host="127.0.0.1", port=server.port, sampler="Euler a", username="me", password=key
    )


@pytest.fixture(scope="module")
def detect(server: LiveServer) -> Any:
    detector = build_detector(server.settings)

    def examine(data: bytes) -> Verdict:
        candidate = open_candidate(data, name="picture", limits=detector.limits)
        return detector.examine(candidate, depth=Depth.THOROUGH)

    return examine


def noise(side_px: int = 256) -> Image.Image:
    grey = Image.effect_noise((side_px, side_px), 60)
    return Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180)))


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def post(server: LiveServer, key: str, path: str, body: object, **more: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", **more}
    return requests.post(f"{server.url}/sdapi/v1/{path}", json=body, headers=headers, timeout=120)


def test_txt2img_answers_marked_pictures(client: webuiapi.WebUIApi, detect: Any) -> None:
    answer = client.txt2img(**SMALL, n_iter=2, cfg_scale=6)
    assert len(answer.images) == 2
    assert answer.image.size == (256, 256)
    assert answer.info["all_seeds"] == [5, 6]
    assert answer.info["sampler_name"] == "Euler a"
    assert answer.parameters["prompt"] == "a red house"
    for text, record_id in zip(answer.json["images"], answer.info["record_ids"], strict=True):
        verdict = detect(base64.b64decode(text))
        assert (verdict.origin, verdict.assurance) == ("machine_made", "registered")
        assert verdict.record_id == record_id


def test_img2img_is_an_edit(client: webuiapi.WebUIApi, detect: Any) -> None:
    answer = client.img2img(images=[noise()], **{**SMALL, "steps": 4}, denoising_strength=0.5)
    assert answer.info["effective_steps"] == 2
    assert answer.info["denoising_strength"] == 0.5
    verdict = detect(base64.b64decode(answer.json["images"][0]))
    assert (verdict.origin, verdict.assurance) == ("machine_edited", "registered")


def test_img2img_with_a_mask_tells_what_it_does_in_another_way(
    client: webuiapi.WebUIApi, detect: Any
) -> None:
    mask = Image.new("L", (256, 256), 0)
    mask.paste(255, (64, 64, 192, 192))
    answer = client.img2img(images=[noise()], mask_image=mask, **{**SMALL, "steps": 4})
    assert len(answer.info["differences"]) == 2
    assert detect(base64.b64decode(answer.json["images"][0])).origin == "machine_edited"


def test_a_data_prefix_is_understood(server: LiveServer, key: str) -> None:
    body = {**SMALL, "steps": 4, "init_images": [f"data:image/png;base64,{encoded(noise())}"]}
    answer = post(server, key, "img2img", body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 1


def test_settings_that_are_null_are_left_out(server: LiveServer, key: str) -> None:
    settings = {"samples_format": None, "sd_model_checkpoint": None}
    answer = post(server, key, "txt2img", {**SMALL, "override_settings": settings})
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["images"][0]).startswith(b"\x89PNG")


def test_settings_of_one_request_choose_model_and_format(server: LiveServer, key: str) -> None:
    settings = {"sd_model_checkpoint": "second", "samples_format": "jpg"}
    answer = post(server, key, "txt2img", {**SMALL, "override_settings": settings})
    assert answer.status_code == 200, answer.text
    data = base64.b64decode(answer.json()["images"][0])
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    info = json.loads(answer.json()["info"])
    assert info["sd_model_name"] == "second"
    assert len(info["sd_model_hash"]) == 10


@pytest.mark.parametrize("path", ["txt2img", "img2img"])
def test_a_retry_under_its_idempotency_key_makes_no_second_record(
    server: LiveServer, key: str, path: str
) -> None:
    body: dict[str, Any] = {**SMALL, "steps": 4, "seed": -1}
    if path == "img2img":
        body["init_images"] = [encoded(noise())]
    more = {"Idempotency-Key": f"order-{path}"}
    first, again = (post(server, key, path, body, **more) for _ in range(2))
    assert first.status_code == 200, first.text
    found = [json.loads(answer.json()["info"])["record_ids"] for answer in (first, again)]
    assert found[0] == found[1]
    assert first.json()["images"] == again.json()["images"]
    assert post(server, key, path, {**body, "steps": 5}, **more).status_code == 422


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 9}, "batch_size 9 is more than the 8"),
        ({"n_iter": 9}, "n_iter 9 is more than the 8"),
        ({"enable_hr": True}, "enable_hr"),
        ({"restore_faces": True}, "restore_faces"),
        ({"tiling": True}, "tiling"),
        ({"styles": ["x"]}, "styles"),
        ({"subseed_strength": 0.3}, "subseed_strength"),
        ({"script_name": "x/y/z plot"}, "script_name"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "x"}]}}}, "alwayson_scripts"),
        ({"override_settings": {"sd_vae": "other"}}, "sd_vae"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, "model"),
        ({"sampler_name": "Nonsense"}, "Nonsense"),
        ({"scheduler": "align_your_steps"}, "align_your_steps"),
        ({"something_new": 1}, "something_new"),
        ({"steps": 0}, "steps"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "half a \ud800"}, "half a character"),
        ({"override_settings": {"samples_format": []}}, "samples_format"),
        ({"override_settings": {"samples_format": "gif"}}, "samples_format"),
        ({"batch_size": 8, "n_iter": 8}, "batch_size 8 times n_iter 8 is more than the 8"),
    ],
)
def test_what_would_change_the_picture_is_refused_by_name(
    server: LiveServer, key: str, change: dict[str, Any], named: str
) -> None:
    answer = post(server, key, "txt2img", {**SMALL, "sampler_name": "Euler", **change})
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"init_images": []}, "init_images"),
        ({"init_images": None}, "init_images"),
        ({"init_images": ["https://example.org/x.png"]}, "init_images"),
        ({"resize_mode": 2}, "resize_mode"),
        ({"inpainting_fill": 2}, "inpainting_fill"),
        ({"denoising_strength": 0}, "denoising_strength"),
        ({"denoising_strength": 0.01}, "strength"),
    ],
)
def test_img2img_refuses_by_name(
    server: LiveServer, key: str, change: dict[str, Any], named: str
) -> None:
    answer = post(server, key, "img2img", {**SMALL, "init_images": [encoded(noise())], **change})
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"]


def test_img2img_without_a_picture_names_the_field(server: LiveServer, key: str) -> None:
    answer = post(server, key, "img2img", SMALL)
    assert answer.status_code == 400, answer.text
    assert "init_images" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["txt2img", "img2img", "options"])
@pytest.mark.parametrize("body", [b"", b"[1]", b"[" * 200_000, b'{"a":' * 200_000, b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(
    server: LiveServer, key: str, path: str, body: bytes
) -> None:
    answer = requests.post(
        f"{server.url}/sdapi/v1/{path}",
        data=body,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith("the body ")


def test_idle_scripts_and_saving_are_taken(server: LiveServer, key: str) -> None:
    more = {
        "alwayson_scripts": {"ADetailer": {"args": [False]}, "ControlNet": {"args": []}},
        "save_images": True,
        "send_images": False,
        "scheduler": "Karras",
        "sampler_name": "DPM++ 2M",
    }
    answer = post(server, key, "txt2img", {**SMALL, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["images"] == []
    assert len(json.loads(answer.json()["info"])["record_ids"]) == 1


def test_lists_are_as_the_client_reads_them(client: webuiapi.WebUIApi) -> None:
    assert client.util_get_model_names() == ["bundled", "second"]
    assert "DPM++ 2M" in client.util_get_sampler_names()
    assert {one["name"] for one in client.get_schedulers()} >= {"automatic", "karras"}
    assert [one["name"] for one in client.get_loras()] == ["ink"]
    assert client.get_upscalers() == []
    assert client.get_cmd_flags() == {}


def test_the_model_is_switched_for_this_key_alone(server: LiveServer) -> None:
    keys = open_api_keys(server.settings)
    mine, other = (keys.create(name, [Scope.GENERATE])[1] for name in ("mine", "other"))
    assert post(server, mine, "options", {"sd_model_checkpoint": "second"}).status_code == 200
    shown = []
    for key in (mine, other):
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.get(f"{server.url}/sdapi/v1/options", headers=headers, timeout=30)
        shown.append(answer.json()["sd_model_checkpoint"])
    assert shown == ["second", "bundled"]
    answer = post(server, mine, "txt2img", SMALL)
    assert json.loads(answer.json()["info"])["sd_model_name"] == "second"
    assert post(server, mine, "options", {"sd_model_checkpoint": "no"}).status_code == 400
    assert post(server, mine, "options", {"outdir_samples": "/etc"}).status_code == 400


def test_progress_and_interrupt(client: webuiapi.WebUIApi, detect: Any) -> None:
    assert client.get_progress()["progress"] == 0
    answers: list[Any] = []
    long = {**SMALL, "steps": 1000, "n_iter": 4}
    waiting = threading.Thread(target=lambda: answers.append(client.txt2img(**long)))
    waiting.start()
    seen: dict[str, Any] = {}
    for _ in range(1200):
        now = client.get_progress()
        if now["state"]["job"]:
            seen = now
        if now["progress"] and now["current_image"]:
            break
        time.sleep(0.05)
    client.interrupt()
    waiting.join(120)
    assert 0 < seen["progress"] < 1
    assert seen["state"]["sampling_steps"] == 1000
    # What is shown on the way leaves the service too.
    assert detect(base64.b64decode(seen["current_image"])).assurance == "registered"
    (answer,) = answers
    assert answer.info["interrupted"] is True
    assert len(answer.images) < 4
    assert client.get_progress()["progress"] == 0


def test_without_a_key_the_client_is_told_why(server: LiveServer) -> None:
    stranger = webuiapi.WebUIApi(host="127.0.0.1", port=server.port)
    with pytest.raises(RuntimeError, match="countermark apikeys create") as caught:
        stranger.txt2img(**SMALL)
    assert caught.value.args[0] == 401
