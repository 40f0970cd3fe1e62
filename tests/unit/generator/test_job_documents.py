import json
from dataclasses import replace

import numpy as np
import pytest

from generator.job_documents import (
    batch_key,
    document_to_error,
    error_to_document,
    public_detail,
    read_requests,
    write_requests,
)
from provenance.errors import (
    CancelledError,
    CapacityError,
    ContentBlockedError,
    GenerationError,
    InputError,
    RegistryError,
)
from provenance.imaging import encode_image, open_input
from provenance.types import (
    GenerationRequest,
    InputRole,
    LoraRef,
    MediaType,
    RasterImage,
    SafetyPolicy,
    SafetyReport,
)

PIXELS = RasterImage(np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8))
PICTURE = open_input(encode_image(PIXELS, MediaType.PNG).data, name="x")
PLAIN = GenerationRequest(prompt="a tree", seed=2**63 - 1)
EDIT = GenerationRequest(
    prompt="ein Baum, 木",
    negative_prompt="blurred",
    seed=3,
    steps=9,
    guidance=4.5,
    width_px=64,
    height_px=72,
    model="some/model",
    media_type=MediaType.WEBP,
    quality=77,
    init_image=PICTURE,
    strength=0.5,
    mask=PIXELS,
    scheduler="euler",
    loras=(LoraRef("style", 0.5),),
    visible_label=True,
)
GUIDE = replace(EDIT, mask=None, input_role=InputRole.GUIDE)


@pytest.mark.parametrize("request_", [PLAIN, EDIT, GUIDE])
def test_a_request_survives_its_row(request_: GenerationRequest) -> None:
    body, inputs = write_requests((request_, replace(request_, seed=5)))
    again = read_requests(json.loads(json.dumps(body)), inputs)
    assert [one.seed for one in again] == [request_.seed, 5]
    assert replace(again[0], mask=None) == replace(request_, mask=None)
    if request_.mask is not None:
        assert np.array_equal(again[0].mask.pixels, request_.mask.pixels)


def test_equal_inputs_are_kept_once() -> None:
    _, inputs = write_requests((GUIDE, replace(GUIDE, seed=5)))
    assert inputs == {PICTURE.sha256: PICTURE.data}


def test_a_row_of_a_newer_version_or_a_damaged_one_is_named() -> None:
    body, inputs = write_requests((EDIT,))
    newer = {"requests": [{**body["requests"][0], "camera": "x"}]}
    with pytest.raises(RegistryError, match="camera"):
        read_requests(newer, inputs)
    for damaged, kept in (({}, inputs), (body, {})):
        with pytest.raises(RegistryError, match="damaged"):
            read_requests(damaged, kept)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"prompt": "other", "negative_prompt": "y", "seed": 9, "quality": 1}, True),
        ({"media_type": MediaType.PNG}, True),
        ({"steps": 10}, False),
        ({"width_px": 128}, False),
        ({"scheduler": "ddim"}, False),
        ({"loras": ()}, False),
        ({"mask": None}, False),
        ({"model": None}, False),
    ],
)
def test_batches_share_all_but_what_each_picture_has_of_its_own(change: dict, same: bool) -> None:
    assert (batch_key((EDIT,)) == batch_key((replace(EDIT, **change),))) is same


REPORT = SafetyReport("c", "1", {"bright": 0.9}, {"bright": 0.5}, SafetyPolicy.BLOCK)


def test_what_a_stranger_may_read_of_an_error_survives_its_row() -> None:
    for error in (InputError("a"), CapacityError("b"), CancelledError("c")):
        again = document_to_error(json.loads(json.dumps(error_to_document(error))))
        assert type(again) is type(error)
        assert public_detail(again) == str(error)
    again = document_to_error(error_to_document(ContentBlockedError("d", REPORT, "0" * 16)))
    assert isinstance(again, ContentBlockedError)
    assert (again.report, again.refusal_id) == (REPORT, "0" * 16)
    hidden = document_to_error(error_to_document(GenerationError("/secret/path is defective")))
    assert "/secret" not in str(public_detail(hidden))
    assert public_detail(None) is None
