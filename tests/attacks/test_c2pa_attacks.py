"""What an attacker does to a signed file, or signs by himself. Files are made here."""

import io
import json
import struct
import time
import zlib
from datetime import timedelta

import pytest
from cryptography.x509.oid import NameOID
from PIL import Image

from provenance.imaging import encode_image, hash_pixels
from provenance.manifest import sdk
from provenance.manifest.claims import build_manifest
from provenance.manifest.heal import split_shell
from provenance.manifest.loopback import listen_and_count
from provenance.manifest.reading import read_manifest
from provenance.manifest.selftest import remote_reference
from provenance.manifest.signing import ManifestSigner
from provenance.manifest.trust import AnchorKind, no_trust, parse_anchors, with_anchors
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority
from provenance.testing.manifests import sample_claim, unsigned_picture
from provenance.testing.pictures import flat_picture
from provenance.testing.tsa import LocalTsa
from provenance.types import (
    WRITABLE_MEDIA_TYPES,
    Credential,
    History,
    Integrity,
    MediaType,
    SignerTrust,
    SigningTime,
    SourceClaim,
)

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority()


@pytest.fixture(scope="module")
def signer(authority):
    return authority.issue().signer


@pytest.fixture(scope="module")
def trust(authority):
    return trusting(authority.root_pem)


@pytest.fixture(scope="module")
def signed(signer):
    return {
        one: ManifestSigner(signer).sign(unsigned_picture(one), sample_claim())
        for one in WRITABLE_MEDIA_TYPES
    }


def trusting(*roots, tsa=()):
    lists = [parse_anchors(pem, name="roots", kind=AnchorKind.MANIFEST) for pem in roots]
    lists += [parse_anchors(pem, name="stamps", kind=AnchorKind.TSA) for pem in tsa]
    return with_anchors(no_trust(), lists)


def sign_raw(signer, definition, *, picture=None, tsa_url=None):
    """Signs whatever it is given: an attacker does not use our rules."""
    return sdk.sign_standard(
        picture or unsigned_picture(),
        {"claim_generator_info": [{"name": "x", "version": "1"}]} | definition,
        signer=signer,
        tsa_url=tsa_url,
        deadline_s=10,
    ).data


def actions(*entries, **more):
    data = {"actions": list(entries), "allActionsIncluded": True} | more
    return {"label": "c2pa.actions.v2", "created": True, "data": data}


CREATED = {"action": "c2pa.created", "digitalSourceType": IPTC + "trainedAlgorithmicMedia"}


# -- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_manifest_moved_onto_another_picture(signed, trust, media_type):
    shell = split_shell(signed[media_type].image.data, media_type)
    victim = unsigned_picture(media_type, seed=99)
    moved = shell.head + split_shell(victim.data, media_type).essence + shell.tail
    if media_type is MediaType.WEBP:
        moved = moved[:4] + struct.pack("<I", len(moved) - 8) + moved[8:]
    report = read_manifest(moved, media_type, trust=trust)
    assert report.credential is Credential.EMBEDDED
    assert report.integrity is Integrity.CONTENT_CHANGED
    assert report.signer is SignerTrust.TRUSTED


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_one_pixel_changed_with_the_manifest_kept(signed, trust, media_type):
    original = Image.open(io.BytesIO(signed[media_type].image.data)).convert("RGB")
    red, green, blue = original.getpixel((5, 5))
    original.putpixel((5, 5), (red ^ 1, green, blue))
    out = io.BytesIO()
    original.save(out, media_type.name, quality=95)
    essence = split_shell(out.getvalue(), media_type).essence
    shell = split_shell(signed[media_type].image.data, media_type)
    changed = shell.head + essence + shell.tail
    if media_type is MediaType.WEBP:
        changed = changed[:4] + struct.pack("<I", len(changed) - 8) + changed[8:]
    report = read_manifest(changed, media_type, trust=trust)
    assert report.integrity is Integrity.CONTENT_CHANGED


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_bytes_appended(signed, trust, media_type):
    data = signed[media_type].image.data + b"appended"
    assert read_manifest(data, media_type, trust=trust).integrity is not Integrity.INTACT


def test_text_chunk_added(signed, trust):
    data = signed[MediaType.PNG].image.data
    body = b"tEXtComment\0hello"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    report = read_manifest(data[:-12] + chunk + data[-12:], "image/png", trust=trust)
    assert report.integrity is Integrity.CONTENT_CHANGED


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_saved_again_loses_the_credential(signed, trust, media_type):
    out = io.BytesIO()
    Image.open(io.BytesIO(signed[media_type].image.data)).save(out, media_type.name)
    report = read_manifest(out.getvalue(), media_type, trust=trust)
    assert report.credential is Credential.NONE


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_any_flipped_byte_is_noticed_or_changes_nothing(signed, trust, media_type):
    asset = signed[media_type]
    genuine = read_manifest(asset.image.data, media_type, trust=trust)
    data = asset.image.data
    for place in range(20, len(data), max(1, len(data) // 150)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        report = read_manifest(bytes(flipped), media_type, trust=trust)
        if report.integrity is Integrity.INTACT and report.signer is SignerTrust.TRUSTED:
            # What no hash covers is the manifest's own wrapping (chunk checksum, segment headers)
            # and the padding behind the signature: nothing there says anything.
            assert report == genuine


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_any_truncation_is_survived(signed, trust, media_type):
    data = signed[media_type].image.data
    for length in range(0, len(data), max(1, len(data) // 80)):
        report = read_manifest(data[:length], media_type, trust=trust)
        assert report.integrity is not Integrity.INTACT


@pytest.mark.parametrize("media_type", [*WRITABLE_MEDIA_TYPES, MediaType.AVIF, MediaType.TIFF])
def test_garbage_is_survived(trust, media_type):
    for data in (b"", b"\x00", b"\xff" * 5000, b"jumbc2pa" * 400, bytes(range(256)) * 40):
        report = read_manifest(data, media_type, trust=trust)
        assert report.credential in (Credential.NONE, Credential.MALFORMED)


def test_wrong_media_type_is_survived(signed, trust):
    for claimed in ("image/jpeg", "image/webp", "image/bmp", "video/mp4", "nonsense", ""):
        report = read_manifest(signed[MediaType.PNG].image.data, claimed, trust=trust)
        assert report.credential in (Credential.EMBEDDED, Credential.NONE, Credential.MALFORMED)


def test_damaged_picture_without_a_manifest_is_not_called_malformed(trust):
    data = encode_image(flat_picture(64, 64, rgb=(5, 5, 5)), MediaType.JPEG).data
    for length in (3, 20, 100, len(data) - 2):
        report = read_manifest(data[:length], "image/jpeg", trust=trust)
        assert report.credential is Credential.NONE


def test_two_stores_in_a_png(signed, trust):
    one = signed[MediaType.PNG].image.data
    (length,) = struct.unpack_from(">I", one, 33)
    chunk = one[33 : 33 + 12 + length]
    assert chunk[4:8] == b"caBX"
    report = read_manifest(one[:33] + chunk + one[33:], "image/png", trust=trust)
    assert report.credential is Credential.MALFORMED


def test_two_stores_in_a_webp(signed, trust):
    data = signed[MediaType.WEBP].image.data
    start = data.index(b"C2PA")
    doubled = data + data[start:]
    doubled = doubled[:4] + struct.pack("<I", len(doubled) - 8) + doubled[8:]
    report = read_manifest(doubled, "image/webp", trust=trust)
    assert report.integrity is not Integrity.INTACT


def test_two_stores_in_a_jpeg(signed, signer, trust):
    """The attacker's own store in front of the genuine one."""
    genuine = signed[MediaType.JPEG].image.data
    other = ManifestSigner(signer).sign(unsigned_picture(MediaType.JPEG, seed=3), sample_claim())
    segments = app11_segments(other.image.data)
    assert segments
    report = read_manifest(genuine[:2] + segments + genuine[2:], "image/jpeg", trust=trust)
    assert report.integrity is not Integrity.INTACT


def app11_segments(data):
    place, found = 2, b""
    while data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == 0xEB:
            found += data[place : place + 2 + length]
        place += 2 + length
    return found


# -- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_remote_reference_is_not_followed(trust, media_type):
    with listen_and_count() as listener:
        picture = encode_image(
            flat_picture(64, 64, rgb=(9, 9, 9)), media_type, xmp=remote_reference(listener.port)
        )
        start = time.monotonic()
        report = read_manifest(picture.data, media_type, trust=trust)
        assert time.monotonic() - start < 1.0
    assert report.credential is Credential.REMOTE_NOT_FETCHED
    assert listener.connections == []


def test_listener_would_notice_a_connection():
    """The control: with the engine's own defaults the same file does connect."""
    import c2pa

    with listen_and_count() as listener:
        picture = encode_image(
            flat_picture(64, 64, rgb=(9, 9, 9)),
            MediaType.PNG,
            xmp=remote_reference(listener.port),
        )
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/png", io.BytesIO(picture.data))
    assert listener.connections


# -- the signer ----------------------------------------------------------------------------------


def test_impostor_with_a_famous_name(trust):
    names = {
        NameOID.COUNTRY_NAME: "US",
        NameOID.ORGANIZATION_NAME: "OpenAI",
        NameOID.COMMON_NAME: "OpenAI Media Service",
    }
    impostor = ThrowawayAuthority("OpenAI").issue(LeafPlan(names=names)).signer
    data = sign_raw(impostor, {"assertions": [actions(CREATED)]})
    report = read_manifest(data, "image/png", trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.UNTRUSTED
    assert report.signer_name is None
    assert "OpenAI" not in repr(report)


@pytest.mark.parametrize("term", ["digitalCapture", "trainedAlgorithmicMedia"])
def test_trusted_editor_does_not_vouch_for_what_a_stranger_said_before(
    authority, signer, trust, term
):
    """Whitewashing: sign it yourself as a capture, then open and save it in a trusted editor."""
    entry = actions(CREATED | {"digitalSourceType": IPTC + term})
    stranger = ThrowawayAuthority("Stranger")
    by_stranger = sign_raw(stranger.issue().signer, {"assertions": [entry]})
    report = read_manifest(edit(by_stranger, signer), "image/png", trust=trust)
    assert (report.integrity, report.signer) == (Integrity.INTACT, SignerTrust.TRUSTED)
    assert report.claim in (SourceClaim.CAPTURE, SourceClaim.FULLY_AI)
    assert not report.claim_vouched
    # The control: a trusted signer's own statement, and the stranger's once a list has him.
    by_trusted = sign_raw(signer, {"assertions": [entry]})
    assert read_manifest(edit(by_trusted, signer), "image/png", trust=trust).claim_vouched
    both = trusting(authority.root_pem, stranger.root_pem)
    assert read_manifest(edit(by_stranger, signer), "image/png", trust=both).claim_vouched


def edit(parent, signer):
    """`parent` opened and saved under a new manifest, as an editor does it."""
    import c2pa

    definition = {
        "claim_generator_info": [{"name": "editor", "version": "1"}],
        "assertions": [actions({"action": "c2pa.opened", "parameters": {"ingredientIds": ["p"]}})],
    }
    native = c2pa.Signer.from_callback(
        signer.sign, c2pa.C2paSigningAlg.ES256, signer.certificate_chain_pem.decode(), None
    )
    builder = c2pa.Builder(json.dumps(definition), context=c2pa.Context.from_dict(SETTINGS))
    ingredient = {"title": "parent", "relationship": "parentOf", "label": "p"}
    builder.add_ingredient(json.dumps(ingredient), "image/png", io.BytesIO(parent))
    out = io.BytesIO()
    builder.sign(native, "image/png", io.BytesIO(unsigned_picture().data), out)
    return out.getvalue()


SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": [], "decode_identity_assertions": False},
    "builder": {"thumbnail": {"enabled": False}},
}


def test_signer_under_a_root_that_is_meant_for_time_stamps(authority, signer):
    stamps_only = trusting(tsa=[authority.root_pem])
    data = sign_raw(signer, {"assertions": [actions(CREATED)]})
    reading = sdk.read_store(data, "image/png", trust=stamps_only)
    # The engine falls for it; when this line fails, it enforces the kinds by itself.
    assert reading.state is sdk.StoreState.TRUSTED
    report = read_manifest(data, "image/png", trust=stamps_only)
    assert report.signer is SignerTrust.UNTRUSTED
    assert report.signer_name is None


def test_root_for_both_uses_vouches_for_both(authority, signer):
    both = trusting(authority.root_pem, tsa=[authority.root_pem])
    data = sign_raw(signer, {"assertions": [actions(CREATED)]})
    assert read_manifest(data, "image/png", trust=both).signer is SignerTrust.TRUSTED


@pytest.fixture(scope="module")
def ended(authority):
    """Files whose leaf has ended since: plain, stamped, and an old claim that is stamped."""
    brief = authority.issue(LeafPlan(lifetime=(timedelta(days=1), timedelta(seconds=3)))).signer
    start = time.monotonic()
    with LocalTsa() as tsa:
        definition = {"assertions": [actions(CREATED)]}
        files = {
            "plain": sign_raw(brief, definition),
            "stamped": sign_raw(brief, definition, tsa_url=tsa.url),
            "old": sign_raw(brief, definition | {"claim_version": 1}, tsa_url=tsa.url),
        }
    time.sleep(max(0.0, start + 4.5 - time.monotonic()))
    return files, tsa.root_pem


@pytest.mark.parametrize("kind", ["plain", "stamped", "old"])
def test_ended_leaf_without_a_trusted_stamp(ended, trust, kind):
    """The engine trusts any stamp on a claim of version 1, also the attacker's own."""
    files, _ = ended
    report = read_manifest(files[kind], "image/png", trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signing_time is SigningTime.EXPIRED
    assert report.signer is SignerTrust.UNTRUSTED
    assert report.signer_name is None


def test_engine_does_trust_the_attackers_stamp_on_an_old_claim(ended, trust):
    """When this fails, the engine no longer does, and the shield in `reading` may go."""
    files, _ = ended
    reading = sdk.read_store(files["old"], "image/png", trust=trust)
    assert reading.state is sdk.StoreState.TRUSTED


def test_stamp_of_a_root_that_is_meant_for_signers(ended, authority):
    files, tsa_root = ended
    report = read_manifest(
        files["stamped"], "image/png", trust=trusting(authority.root_pem, tsa_root)
    )
    assert report.signing_time is SigningTime.EXPIRED
    assert report.signer is SignerTrust.UNTRUSTED


def test_stamp_of_a_trusted_authority_saves_the_ended_leaf(ended, authority):
    files, tsa_root = ended
    trust = trusting(authority.root_pem, tsa=[tsa_root])
    report = read_manifest(files["stamped"], "image/png", trust=trust)
    assert report.signing_time is SigningTime.STAMPED_TRUSTED
    assert report.signer is SignerTrust.TRUSTED


# -- the content of the manifest -----------------------------------------------------------------

HOSTILE = [
    "<script>alert(document.cookie)</script>",
    "'; DROP TABLE records; --",
    "photo\u202egnp.exe",
    "../../../../etc/passwd",
    "x" * 10_000,
    "\x00\x07\x1b[2J",
    "{{7*7}}${7*7}",
    "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_strings_come_out_short_and_visible(signer, trust, text):
    binding = {"alg": text, "blocks": [{"scope": {}, "value": "00"}]}
    data = sign_raw(
        signer,
        {
            "claim_generator_info": [{"name": text, "version": text}],
            "title": text,
            "assertions": [
                actions(
                    CREATED | {"softwareAgent": {"name": text}, "when": text},
                    {"action": text, "description": text},
                ),
                {"label": "c2pa.soft-binding", "created": True, "data": binding},
            ],
        },
    )
    report = read_manifest(data, "image/png", trust=trust)
    shown = [
        report.claim_path,
        report.claim_generator,
        report.manifest_label,
        report.signed_at,
        report.signer_name,
        *(one.alg for one in report.soft_bindings),
        *report.codes,
    ]
    for one in filter(None, shown):
        assert one.isprintable()
        assert len(one) <= 200
    assert report.claim is SourceClaim.FULLY_AI
    assert report.ambiguous


def test_hostile_subject_is_cleaned(authority, trust):
    names = LeafPlan().names | {NameOID.ORGANIZATION_NAME: "Good\u202eliveE\u200b Ltd<b>"}
    signer = authority.issue(LeafPlan(names=names)).signer
    data = sign_raw(signer, {"assertions": [actions(CREATED)]})
    report = read_manifest(data, "image/png", trust=trust)
    assert report.signer_name == "GoodliveE Ltd<b>"


@pytest.mark.parametrize(
    "source_type",
    [
        "http://example.org/trainedAlgorithmicMedia",
        IPTC + "trainedAlgorithmicMedia.",
        IPTC + "notTrainedAlgorithmicMedia",
    ],
)
def test_invented_source_type_claims_nothing(signer, trust, source_type):
    entry = {"action": "c2pa.created", "digitalSourceType": source_type}
    data = sign_raw(signer, {"assertions": [actions(entry)]})
    assert read_manifest(data, "image/png", trust=trust).claim is SourceClaim.NO_CLAIM


@pytest.mark.parametrize("value", ["text", [116, 101, 120, 116]])
def test_soft_binding_values_are_read_in_every_writable_form(signer, trust, value):
    data = {"alg": "org.example.x", "blocks": [{"scope": {}, "value": value}]}
    signed = sign_raw(
        signer, {"assertions": [actions(CREATED), {"label": "c2pa.soft-binding", "data": data}]}
    )
    (binding,) = read_manifest(signed, "image/png", trust=trust).soft_bindings
    assert binding.value == "text"


def test_hundreds_of_soft_bindings_are_cut(signer, trust):
    blocks = [{"scope": {}, "value": str(i)} for i in range(400)]
    data = {"alg": "org.example.x", "blocks": blocks}
    signed = sign_raw(
        signer, {"assertions": [actions(CREATED), {"label": "c2pa.soft-binding", "data": data}]}
    )
    assert len(read_manifest(signed, "image/png", trust=trust).soft_bindings) <= 32


def test_gathered_actions_are_ambiguous(signer, trust):
    """An assertion that the engine gathers is one that the signer does not vouch for."""
    entry = actions(CREATED)
    entry["label"], entry["created"] = "com.example.actions", False
    data = sign_raw(signer, {"assertions": [actions(CREATED, allActionsIncluded=False), entry]})
    assert read_manifest(data, "image/png", trust=trust).ambiguous


def test_deeply_nested_parameters_are_survived(signer, trust):
    nested = "x"
    for _ in range(90):
        nested = {"n": nested}
    entry = CREATED | {"parameters": {"com.example.nested": nested}}
    try:
        data = sign_raw(signer, {"assertions": [actions(entry)]})
    except sdk.SigningError:
        pytest.skip("the engine refuses to sign it")
    report = read_manifest(data, "image/png", trust=trust)
    assert report.claim is SourceClaim.FULLY_AI


def test_deeply_nested_report_is_malformed_and_no_crash():
    deep = '{"manifests":' + "[" * 200_000 + "]" * 200_000 + "}"
    found = sdk._parse_reading(deep, "{}", "Valid", {})
    assert found is sdk.ReadFailure.MALFORMED


def test_very_long_report_is_malformed(monkeypatch):
    monkeypatch.setattr(sdk, "_MAX_REPORT_CHARACTERS", 100)
    assert sdk._parse_reading("[" + "1," * 100 + "1]", "{}", "Valid", {}) is (
        sdk.ReadFailure.MALFORMED
    )


def test_laundered_file_is_clean_by_its_manifest_alone(signer, trust, signed):
    """Re-signing as a capture drops the history: only registry and watermark can contradict."""
    pixels = Image.open(io.BytesIO(signed[MediaType.PNG].image.data)).convert("RGB")
    out = io.BytesIO()
    pixels.save(out, "PNG")
    from provenance.imaging import decode_image
    from provenance.types import EncodedImage

    laundered = sign_raw(
        signer,
        {"assertions": [actions(CREATED | {"digitalSourceType": IPTC + "digitalCapture"})]},
        picture=EncodedImage(out.getvalue(), MediaType.PNG),
    )
    report = read_manifest(laundered, "image/png", trust=trust)
    assert report.claim is SourceClaim.CAPTURE
    assert report.history is History.CLEAN
    assert report.soft_bindings == ()
    assert hash_pixels(decode_image(laundered)) == hash_pixels(
        decode_image(signed[MediaType.PNG].image.data)
    )


def test_definition_of_the_sample_claim_survives_json():
    definition = build_manifest(sample_claim())
    assert json.loads(json.dumps(definition)) == definition
