"""Signing and reading with the real engine and a development chain."""

import hashlib
import io
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from provenance.errors import ConfigError, SigningError
from provenance.imaging import decode_image
from provenance.manifest import sdk
from provenance.manifest.claims import build_manifest
from provenance.manifest.heal import read_store_bytes
from provenance.manifest.pki import KeyAlgorithm, create_dev_chain
from provenance.manifest.reading import read_manifest
from provenance.manifest.selftest import remote_reference, run_self_test
from provenance.manifest.signers.local_key import LocalKeySigner
from provenance.manifest.signing import ManifestSigner
from provenance.manifest.trust import (
    AnchorKind,
    default_trust,
    load_anchors,
    no_trust,
    with_anchors,
)
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority
from provenance.testing.manifests import sample_claim, unsigned_picture
from provenance.types import (
    WRITABLE_MEDIA_TYPES,
    Credential,
    EncodedImage,
    History,
    Integrity,
    MediaType,
    SignerTrust,
    SigningTime,
    SourceClaim,
)


@pytest.fixture(scope="module", params=KeyAlgorithm)
def chain(request, tmp_path_factory):
    return create_dev_chain(tmp_path_factory.mktemp("keys"), alg=request.param)


@pytest.fixture(scope="module")
def signer(chain):
    return LocalKeySigner.from_files(chain.chain_file, chain.key_file)


@pytest.fixture(scope="module")
def trust(chain):
    return with_anchors(default_trust(), [load_anchors(chain.root_file, AnchorKind.MANIFEST)])


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_signed_picture_reads_back_in_every_layer(signer, trust, media_type):
    asset = ManifestSigner(signer).sign(unsigned_picture(media_type), sample_claim())
    report = read_manifest(asset.image.data, media_type, trust=trust)
    assert report.credential is Credential.EMBEDDED
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.signing_time is SigningTime.UNSTAMPED_CURRENT
    assert report.history is History.CLEAN
    assert report.claim is SourceClaim.FULLY_AI
    assert not report.ambiguous
    assert report.signer_name == "Countermark development"
    assert report.trust_list == "dev_root.pem"
    assert report.claim_generator == "countermark 0.1.0"
    assert report.signed_at == "2026-11-23T12:00:00Z"
    assert report.soft_bindings == sample_claim().soft_bindings
    assert report.codes == ()
    assert report.manifest_label == asset.manifest_label
    assert asset.manifest_label.startswith("urn:c2pa:")


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_signing_leaves_pixels_and_label_alone(signer, media_type):
    picture = unsigned_picture(media_type)
    asset = ManifestSigner(signer).sign(picture, sample_claim())
    before, after = decode_image(picture.data), decode_image(asset.image.data)
    assert np.array_equal(before.pixels, after.pixels)
    assert b"AISystemUsed" in asset.image.data
    assert hashlib.sha256(asset.image.data).hexdigest() == asset.sha256
    assert read_store_bytes(asset.image.data, media_type) == asset.manifest_store


def test_store_of_the_registry_validates_the_exact_bytes_only(signer, trust):
    picture = unsigned_picture(MediaType.JPEG)
    asset = ManifestSigner(signer).sign(picture, sample_claim())
    again = io.BytesIO()
    Image.open(io.BytesIO(asset.image.data)).save(again, "JPEG", quality=60)
    report = read_manifest(
        again.getvalue(), "image/jpeg", trust=trust, manifest_store=asset.manifest_store
    )
    assert report.credential is Credential.RECOVERED
    assert report.integrity is Integrity.CONTENT_CHANGED
    assert report.signer is SignerTrust.TRUSTED
    assert report.codes == ("assertion.dataHash.mismatch",)
    assert report.soft_bindings == asset.soft_bindings


@pytest.mark.parametrize("media_type", [MediaType.GIF, MediaType.TIFF, MediaType.AVIF])
def test_formats_that_we_do_not_write_are_read(signer, trust, media_type):
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, media_type.name)
    picture = EncodedImage(out.getvalue(), media_type)
    signed = sdk.sign_standard(
        picture, build_manifest(sample_claim()), signer=signer, tsa_url=None, deadline_s=1
    )
    report = read_manifest(signed.data, media_type, trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.claim is SourceClaim.FULLY_AI
    assert media_type in sdk.readable_media_types()


def test_untrusted_signer_is_not_named(signer):
    asset = ManifestSigner(signer).sign(unsigned_picture(), sample_claim())
    report = read_manifest(asset.image.data, "image/png", trust=default_trust())
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.UNTRUSTED
    assert report.signer_name is None
    assert report.trust_list is None


def test_prompt_is_in_the_file_only_where_opted_in(signer):
    secret = "portrait of Jane Roe"
    service = ManifestSigner(signer)
    quiet = service.sign(unsigned_picture(), sample_claim())
    loud = service.sign(unsigned_picture(), sample_claim(prompt=secret))
    assert secret.encode() not in quiet.image.data
    assert secret.encode() in loud.image.data


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_signed_input_is_refused(signer, media_type):
    service = ManifestSigner(signer)
    asset = service.sign(unsigned_picture(media_type), sample_claim())
    with pytest.raises(SigningError, match="drop its history"):
        service.sign(asset.image, sample_claim())


def test_tampered_signed_input_is_refused_too(signer):
    service = ManifestSigner(signer)
    data = bytearray(service.sign(unsigned_picture(), sample_claim()).image.data)
    data[-20] ^= 1
    with pytest.raises(SigningError, match="drop its history"):
        service.sign(EncodedImage(bytes(data), MediaType.PNG), sample_claim())


def test_input_with_a_remote_manifest_is_refused(signer):
    from provenance.imaging import encode_image
    from provenance.testing.pictures import flat_picture

    picture = encode_image(
        flat_picture(32, 32, rgb=(1, 2, 3)), MediaType.PNG, xmp=remote_reference(9)
    )
    with pytest.raises(SigningError, match="remote manifest"):
        ManifestSigner(signer).sign(picture, sample_claim())


@pytest.mark.parametrize(
    "picture",
    [
        EncodedImage(b"GIF89a", MediaType.GIF),
        EncodedImage(unsigned_picture().data[:60], MediaType.PNG),
        EncodedImage(b"no picture", MediaType.PNG),
    ],
)
def test_what_cannot_be_signed_is_one_clear_error(signer, picture):
    with pytest.raises(SigningError):
        ManifestSigner(signer).sign(picture, sample_claim())


class BrokenSigner:
    """Delegates to a good signer, but signs as `sign` says."""

    is_development = False

    def __init__(self, good, sign):
        self.alg = good.alg
        self.certificate_chain_pem = good.certificate_chain_pem
        self._sign = sign

    def sign(self, data):
        return self._sign(data)


def raising(error):
    def sign(_):
        raise error

    return sign


def test_exception_of_the_signer_is_not_swallowed(signer):
    error = SigningError("the key service is down")
    with pytest.raises(SigningError, match="the key service is down"):
        ManifestSigner(BrokenSigner(signer, raising(error))).sign(
            unsigned_picture(), sample_claim()
        )


def test_foreign_exception_of_the_signer_becomes_ours_with_its_cause(signer):
    error = RuntimeError("no route to the vault")
    with pytest.raises(SigningError, match="no route to the vault") as caught:
        ManifestSigner(BrokenSigner(signer, raising(error))).sign(
            unsigned_picture(), sample_claim()
        )
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("length", [0, 63, 65, 72, 5000])
def test_signature_of_wrong_length_is_named(signer, length):
    with pytest.raises(SigningError, match=f"{length} bytes"):
        ManifestSigner(BrokenSigner(signer, lambda _: b"x" * length)).sign(
            unsigned_picture(), sample_claim()
        )


def test_signature_by_another_key_is_not_delivered(signer):
    other = ThrowawayAuthority().issue(LeafPlan(key_kind=signer.alg)).signer
    with pytest.raises(SigningError):
        ManifestSigner(BrokenSigner(signer, other.sign)).sign(unsigned_picture(), sample_claim())


@pytest.mark.parametrize(
    "plan",
    [
        LeafPlan(extended_usages=None),
        LeafPlan(has_authority_key_id=False),
        LeafPlan(signs_data=None),
        LeafPlan(lifetime=(timedelta(days=9), timedelta(days=-1))),
        LeafPlan(lifetime=(timedelta(days=-1), timedelta(days=9))),
    ],
)
def test_certificate_against_the_profile_is_not_signed_with(plan):
    signer = ThrowawayAuthority().issue(plan).signer
    with pytest.raises(SigningError, match="keys doctor"):
        ManifestSigner(signer).sign(unsigned_picture(), sample_claim())


def test_engine_signs_what_our_rules_forbid_so_the_rules_are_needed(signer):
    """When this fails, the engine has learned a rule and ours may go."""
    claim = {"claim_generator_info": [{"name": "x", "version": "1"}]}
    bogus = {"action": "c2pa.created", "digitalSourceType": "http://example.org/bogus"}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [bogus]}}
    signed = sdk.sign_standard(
        unsigned_picture(), claim | {"assertions": [actions]}, signer=signer, tsa_url=None,
        deadline_s=1,
    )  # fmt: skip
    report = read_manifest(signed.data, "image/png", trust=no_trust())
    assert report.integrity is Integrity.INTACT
    assert report.claim is SourceClaim.NO_CLAIM


def test_self_test_passes_where_the_root_is_trusted(signer, trust):
    run_self_test(ManifestSigner(signer), trust=trust)


def test_self_test_fails_where_the_development_root_is_not_trusted(signer):
    with pytest.raises(SigningError, match="not trusted here"):
        run_self_test(ManifestSigner(signer), trust=default_trust())


def test_self_test_accepts_an_unlisted_certificate_of_the_operator():
    run_self_test(ManifestSigner(ThrowawayAuthority().issue().signer), trust=default_trust())


@pytest.mark.parametrize("url", ["ftp://tsa.example", "tsa.example", "http://", "file:///etc"])
def test_address_of_the_authority_must_be_http(signer, url):
    with pytest.raises(ConfigError, match=r"http\(s\)"):
        ManifestSigner(signer, tsa_url=url)


def sign_and_read(service, trust):
    asset = service.sign(unsigned_picture(side_px=64), sample_claim())
    return read_manifest(asset.image.data, "image/png", trust=trust).signer


def _in_child(service, trust, answers):
    answers.put(sign_and_read(service, trust))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_worker_signs_and_reads_after_its_parent_did(signer, trust):
    service = ManifestSigner(signer)
    assert sign_and_read(service, trust) is SignerTrust.TRUSTED
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_in_child, args=(service, trust, answers))
    child.start()
    assert answers.get(timeout=30) is SignerTrust.TRUSTED
    child.join(30)
    assert child.exitcode == 0
    assert sign_and_read(service, trust) is SignerTrust.TRUSTED


def test_threads_share_a_service(signer, trust):
    service = ManifestSigner(signer)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: sign_and_read(service, trust), range(32)))
    assert set(found) == {SignerTrust.TRUSTED}
