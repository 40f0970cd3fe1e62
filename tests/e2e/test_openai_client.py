"""The official OpenAI client against a real server: only its address is changed."""

from __future__ import annotations

import base64
import io
import os
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
import requests
from live_server import LiveServer, serve
from PIL import Image
from served import Served

from detector.service import Depth
from detector.wiring import build_detector
from provenance.config import load_settings
from provenance.imaging import open_candidate
from provenance.types import Scope
from registry.jobs import JobStore
from registry.tables import JobState
from registry.wiring import open_api_keys, open_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.types import Verdict

SUPPORT = Path(__file__).resolve().parents[1] / "support"
OURS = {"steps": 2, "seed": 5}
SMALL = {"prompt": "a red house", "size": "256x256", "extra_body": OURS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("home"), '[serve]\nrequire_api_key = "generate"\n') as live:
        yield live


@pytest.fixture(scope="module")
def key(server: LiveServer) -> str:
    return open_api_keys(server.settings).create("client", [Scope.GENERATE])[1]


@pytest.fixture(scope="module")
def client(server: LiveServer, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def detect(server: LiveServer) -> Any:
    detector = build_detector(server.settings)

    def examine(data: bytes) -> Verdict:
        candidate = open_candidate(data, name="picture", limits=detector.limits)
        return detector.examine(candidate, depth=Depth.THOROUGH)

    return examine


def picture_of(text: str | None) -> tuple[bytes, Image.Image]:
    assert text is not None
    data = base64.b64decode(text)
    return data, Image.open(io.BytesIO(data))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def house(side_px: int = 256) -> bytes:
    noise = Image.effect_noise((side_px, side_px), 60)
    return png(Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))))


def test_generate_answers_marked_pictures(client: openai.OpenAI, detect: Any) -> None:
    answer = client.images.generate(**SMALL, n=2, user="somebody", moderation="auto")
    assert answer.data is not None
    assert len(answer.data) == 2
    records = set()
    for one in answer.data:
        data, picture = picture_of(one.b64_json)
        assert (picture.format, picture.size) == ("PNG", (256, 256))
        verdict = detect(data)
        assert (verdict.origin, verdict.assurance) == ("machine_made", "registered")
        records.add(verdict.record_id)
    assert len(records) == 2


def test_generate_takes_format_and_compression(client: openai.OpenAI, detect: Any) -> None:
    answer = client.images.generate(
        **SMALL, model="bundled", output_format="jpeg", output_compression=80, quality="low"
    )
    assert answer.data is not None
    data, picture = picture_of(answer.data[0].b64_json)
    assert picture.format == "JPEG"
    assert answer.output_format == "jpeg"
    assert detect(data).assurance == "registered"


def test_a_url_leads_to_the_asset(client: openai.OpenAI, key: str, detect: Any) -> None:
    answer = client.images.generate(**SMALL, response_format="url")
    assert answer.data is not None
    assert answer.data[0].url is not None
    request = urllib.request.Request(answer.data[0].url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as response:
        assert detect(response.read()).assurance == "registered"


def test_size_auto_is_what_suits_the_model(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a house", size="auto", extra_body={"steps": 1})
    assert answer.data is not None
    assert picture_of(answer.data[0].b64_json)[1].size == (512, 512)


def test_edit_repaints_what_is_clear_in_the_mask(client: openai.OpenAI, detect: Any) -> None:
    mask = Image.new("RGBA", (256, 256), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (64, 64, 192, 192))
    answer = client.images.edit(
        image=("house.png", house()),
        mask=("mask.png", png(mask)),
        prompt="a tree",
        size="256x256",
        extra_body={"steps": 2, "seed": 5},
    )
    assert answer.data is not None
    verdict = detect(picture_of(answer.data[0].b64_json)[0])
    assert (verdict.origin, verdict.assurance) == ("machine_edited", "registered")


def test_edit_without_mask_takes_a_list_and_its_own_size(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=[("house.png", house(264))], prompt="in winter", extra_body={"steps": 4}
    )
    assert answer.data is not None
    assert picture_of(answer.data[0].b64_json)[1].size == (264, 264)


def test_a_field_of_a_form_that_is_left_empty_is_left_out(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=house(),
        prompt="in winter",
        extra_body={"steps": 4, "seed": "", "negative_prompt": "", "size": ""},
    )
    assert answer.data is not None


def test_stream_ends_with_the_picture(client: openai.OpenAI, detect: Any) -> None:
    stream = client.images.generate(
        prompt="a house",
        size="256x256",
        stream=True,
        partial_images=2,
        extra_body={"steps": 6, "seed": 5},
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]  # type: ignore[union-attr]
    for event in events:
        # Partial pictures leave the service too: they carry marks like any other.
        verdict = detect(picture_of(event.b64_json)[0])
        assert (verdict.origin, verdict.assurance) == ("machine_made", "registered")


def test_no_partial_picture_is_made_that_is_not_sent(
    server: LiveServer, client: openai.OpenAI
) -> None:
    with closing(open_registry(server.settings)) as store:
        before = store.count()
        stream = client.images.generate(
            prompt="a house",
            size="256x256",
            stream=True,
            partial_images=2,
            extra_body={"steps": 20, "seed": 5},
        )
        sent = len(list(stream))
        assert (sent, store.count() - before) == (3, 3)


def test_a_client_that_leaves_a_stream_cancels_its_job(tmp_path: Path) -> None:
    slow = {
        "COUNTERMARK_GENERATOR_PIPELINE": "drawn_backend:load_slow_pipeline",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
    }
    home = tmp_path / "home"
    with Served(home, **slow) as served:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
        with client.images.generate(
            prompt="a house",
            size="256x256",
            stream=True,
            partial_images=3,
            extra_body={"steps": 400, "seed": 5},
        ):
            pass
        with closing(open_registry(load_settings(environ={}, home=home))) as store:
            rows = JobStore(store.engine)
            deadline = time.monotonic() + 60
            while (job := rows.list_jobs(limit=1)[0]).state is not JobState.CANCELLED:
                assert time.monotonic() < deadline, job
                time.sleep(0.1)
            # Who can ask again under a key finds the same job, which went on.
            asked = {
                "prompt": "a house",
                "size": "256x256",
                "stream": True,
                "partial_images": 1,
                "extra_body": {"steps": 10},
                "extra_headers": {"Idempotency-Key": "order-1182"},
            }
            with client.images.generate(**asked):
                pass
            time.sleep(1)
            kinds = [event.type for event in client.images.generate(**asked)]
            assert kinds[-1] == "image_generation.completed"
            assert [job.state for job in rows.list_jobs(limit=9)] == ["done", "cancelled"]


def test_a_retry_under_its_idempotency_key_makes_no_second_record(
    server: LiveServer, client: openai.OpenAI
) -> None:
    drawn = {"prompt": "a red house", "extra_body": {"steps": 4}}  # its seed is drawn here

    def generate(**changes: Any) -> Any:
        headers = {"Idempotency-Key": "order-1182"}
        return client.images.generate(**{**drawn, **changes}, size="256x256", extra_headers=headers)

    def edit(image: bytes) -> Any:
        headers = {"Idempotency-Key": "order-1183"}
        return client.images.edit(**drawn, image=("a.png", image), extra_headers=headers)

    picture = house()
    with closing(open_registry(server.settings)) as store:
        before = store.count()
        assert generate().data == generate().data
        assert edit(picture).data == edit(picture).data
        assert store.count() - before == 2
    with pytest.raises(openai.UnprocessableEntityError, match="another request"):
        generate(prompt="a blue house")
    with pytest.raises(openai.UnprocessableEntityError, match="another request"):
        edit(house())


def test_stream_of_an_edit_has_its_own_names(client: openai.OpenAI) -> None:
    stream = client.images.edit(
        image=house(), prompt="a tree", stream=True, extra_body={"steps": 4, "seed": 5}
    )
    assert [event.type for event in stream] == ["image_edit.completed"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"size": "100x100"}, "size"),
        ({"size": "large"}, "size"),
        ({"model": "dall-e-3"}, "model"),
        ({"background": "transparent"}, "background"),
        ({"moderation": "low"}, "moderation"),
        ({"style": "vivid"}, "style"),
        ({"n": 11}, "n"),
        ({"output_compression": 50}, "output_compression"),
        ({"extra_body": {"frame_count": 4}}, "frame_count"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: openai.OpenAI, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{**SMALL, **change})
    assert param == "size" or param in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param


def test_half_a_character_is_refused(server: LiveServer, key: str) -> None:
    answer = requests.post(
        f"{server.url}/v1/images/generations",
        data=b'{"prompt": "half a \\ud800"}',
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text
    assert "half a character" in answer.json()["error"]["message"]


def test_edit_refuses_what_it_cannot_use(client: openai.OpenAI) -> None:
    for wrong, named in (
        ({"image": b"no picture"}, "image"),
        ({"image": house(), "mask": house()}, "mask"),
        ({"image": [house(), house()]}, "image"),
        ({"image": house(), "input_fidelity": "high"}, "input_fidelity"),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            client.images.edit(prompt="x", **wrong)  # type: ignore[arg-type]
        assert caught.value.status_code in {400, 415}
        assert named in caught.value.message


def test_keys_and_limits_answer_as_the_client_expects(server: LiveServer) -> None:
    url = f"{server.url}/v1"
    with pytest.raises(openai.AuthenticationError, match="unknown, revoked or expired"):
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).images.generate(**SMALL)
    keys = open_api_keys(server.settings)
    _, reader = keys.create("reader", [Scope.VERIFY])
    with pytest.raises(openai.PermissionDeniedError, match="scope generate"):
        openai.OpenAI(base_url=url, api_key=reader, max_retries=0).models.list()
    _, small = keys.create("small", [Scope.GENERATE], daily_pictures=1)
    with pytest.raises(openai.RateLimitError, match="left today"):
        openai.OpenAI(base_url=url, api_key=small, max_retries=0).images.generate(**SMALL, n=2)


def test_models_are_those_of_the_allow_list(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["bundled", "second"]
    assert client.models.retrieve("second").owned_by == "operator"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-3")


def test_a_refused_picture_has_a_reason_and_no_picture(tmp_path: Any) -> None:
    strict = '[safety]\nchecker = "drawn_backend:load_strict_checker"\n'
    with serve(tmp_path, strict) as live:
        client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="flagged it: bright") as caught:
            client.images.generate(**SMALL)
        assert caught.value.code == "moderation_blocked"
        with pytest.raises(openai.APIError, match="flagged it: bright") as streamed:
            list(client.images.generate(**{**SMALL, "stream": True}))
        assert streamed.value.code == "moderation_blocked"
