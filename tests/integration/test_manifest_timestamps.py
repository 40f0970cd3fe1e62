"""RFC 3161 time-stamps against a local authority."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from provenance.errors import ConfigError, SigningError, TimestampError
from provenance.manifest.claims import SoftwareAgent
from provenance.manifest.reading import read_manifest
from provenance.manifest.signing import ManifestSigner, TimestampPolicy
from provenance.manifest.trust import AnchorKind, no_trust, parse_anchors, with_anchors
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority
from provenance.testing.manifests import sample_claim, unsigned_picture
from provenance.testing.tsa import LocalTsa, TsaMode
from provenance.types import (
    WRITABLE_MEDIA_TYPES,
    Integrity,
    MediaType,
    SignerTrust,
    SigningTime,
    SourceClaim,
)

SERVICE = SoftwareAgent("countermark", "0.1.0")
FAILURES = [mode for mode in TsaMode if mode is not TsaMode.GOOD]


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority()


@pytest.fixture(scope="module")
def tsa():
    with LocalTsa() as running:
        yield running


@pytest.fixture(autouse=True)
def _good_again(tsa):
    tsa.mode = TsaMode.GOOD


@pytest.fixture(scope="module")
def signer(authority):
    return authority.issue().signer


@pytest.fixture(scope="module")
def trust(authority, tsa):
    return with_anchors(
        no_trust(),
        [
            parse_anchors(authority.root_pem, name="root", kind=AnchorKind.MANIFEST),
            parse_anchors(tsa.root_pem, name="tsa", kind=AnchorKind.TSA),
        ],
    )


def service(signer, tsa, policy=TimestampPolicy.FAIL_OPEN):
    return ManifestSigner(signer, tsa_url=tsa.url, timestamp_policy=policy, tsa_timeout_s=1.0)


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_signature_carries_a_trusted_stamp(signer, tsa, trust, media_type):
    asset = service(signer, tsa).sign(unsigned_picture(media_type), sample_claim())
    report = read_manifest(asset.image.data, media_type, trust=trust)
    assert asset.time_stamped
    assert report.signing_time is SigningTime.STAMPED_TRUSTED
    stamped = datetime.fromisoformat(report.signed_at)
    assert abs(datetime.now(UTC) - stamped) < timedelta(minutes=1)


def test_stamp_of_an_unknown_authority_is_untrusted_and_harmless(signer, tsa, authority):
    asset = service(signer, tsa).sign(unsigned_picture(), sample_claim())
    root = parse_anchors(authority.root_pem, name="root", kind=AnchorKind.MANIFEST)
    report = read_manifest(asset.image.data, "image/png", trust=with_anchors(no_trust(), [root]))
    assert report.signing_time is SigningTime.STAMPED_UNTRUSTED
    assert report.signer is SignerTrust.TRUSTED


@pytest.mark.parametrize("mode", FAILURES)
def test_failing_authority_signs_without_a_stamp_and_says_so(signer, tsa, trust, mode):
    tsa.mode = mode
    start = time.monotonic()
    asset = service(signer, tsa).sign(unsigned_picture(), sample_claim())
    assert time.monotonic() - start < 5
    assert not asset.time_stamped
    report = read_manifest(asset.image.data, "image/png", trust=trust)
    assert report.signing_time is SigningTime.UNSTAMPED_CURRENT
    assert report.signer is SignerTrust.TRUSTED


@pytest.mark.parametrize("mode", FAILURES)
def test_failing_authority_stops_the_delivery_where_a_stamp_is_required(signer, tsa, mode):
    tsa.mode = mode
    strict = service(signer, tsa, TimestampPolicy.FAIL_CLOSED)
    with pytest.raises(TimestampError, match=r"time-stamp"):
        strict.sign(unsigned_picture(), sample_claim())


def test_unreachable_authority_is_named():
    signer = ThrowawayAuthority().issue().signer
    strict = ManifestSigner(
        signer, tsa_url="http://127.0.0.1:9/", timestamp_policy=TimestampPolicy.FAIL_CLOSED
    )
    with pytest.raises(TimestampError, match=r"127\.0\.0\.1:9"):
        strict.sign(unsigned_picture(), sample_claim())


def test_password_of_the_authority_is_not_shown(signer, tsa, caplog):
    tsa.mode = TsaMode.ANSWERS_503
    url = tsa.url.replace("http://", "http://someone:s3cret@")
    open_service = ManifestSigner(signer, tsa_url=url)
    assert not open_service.sign(unsigned_picture(), sample_claim()).time_stamped
    assert "without a time-stamp" in caplog.text
    assert "s3cret" not in caplog.text
    assert "someone" not in caplog.text


def test_failing_signer_is_not_blamed_on_the_authority(signer, tsa):
    class Down:
        alg = signer.alg
        certificate_chain_pem = signer.certificate_chain_pem
        is_development = False

        def sign(self, data):
            raise SigningError("the key service is down")

    before = tsa.requests
    with pytest.raises(SigningError, match="key service") as caught:
        service(Down(), tsa).sign(unsigned_picture(), sample_claim())
    assert not isinstance(caught.value, TimestampError)
    assert tsa.requests == before


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG])
def test_late_stamp_leads_back_to_what_was_signed(signer, tsa, trust, media_type):
    plain = ManifestSigner(signer).sign(unsigned_picture(media_type), sample_claim())
    late = service(signer, tsa).add_late_timestamp(plain.image, SERVICE)
    assert late.time_stamped
    assert late.manifest_label != plain.manifest_label
    assert late.soft_bindings == plain.soft_bindings
    report = read_manifest(late.image.data, media_type, trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.signing_time is SigningTime.STAMPED_TRUSTED
    assert report.claim is SourceClaim.FULLY_AI
    assert not report.ambiguous
    assert report.manifest_label == late.manifest_label
    assert plain.manifest_label in report.claim_path


def test_stamps_outlive_the_certificate(authority, tsa, trust):
    """Stamped at signing, stamped later, not at all: then the leaf ends."""
    brief = authority.issue(LeafPlan(lifetime=(timedelta(days=1), timedelta(seconds=4)))).signer
    issued_at = time.monotonic()
    unstamped = ManifestSigner(brief).sign(unsigned_picture(), sample_claim())
    stamped = service(brief, tsa).sign(unsigned_picture(), sample_claim())
    late = service(brief, tsa).add_late_timestamp(unstamped.image, SERVICE)
    time.sleep(max(0.0, issued_at + 5.5 - time.monotonic()))
    for asset in (stamped, late):
        report = read_manifest(asset.image.data, "image/png", trust=trust)
        assert report.signer is SignerTrust.TRUSTED
        assert report.signing_time is SigningTime.STAMPED_TRUSTED
    report = read_manifest(unstamped.image.data, "image/png", trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signing_time is SigningTime.EXPIRED
    assert report.signer is SignerTrust.UNTRUSTED


@pytest.mark.parametrize("mode", FAILURES)
def test_late_stamp_has_nothing_to_fail_open_to(signer, tsa, mode):
    plain = ManifestSigner(signer).sign(unsigned_picture(), sample_claim())
    tsa.mode = mode
    with pytest.raises(TimestampError):
        service(signer, tsa).add_late_timestamp(plain.image, SERVICE)


def test_late_stamp_needs_an_authority(signer):
    plain = ManifestSigner(signer).sign(unsigned_picture(), sample_claim())
    with pytest.raises(ConfigError, match="tsa_url"):
        ManifestSigner(signer).add_late_timestamp(plain.image, SERVICE)


def test_late_stamp_of_an_unsigned_picture_is_refused(signer, tsa):
    with pytest.raises(SigningError, match="intact signed image"):
        service(signer, tsa).add_late_timestamp(unsigned_picture(), SERVICE)


def test_late_stamp_of_a_webp_is_refused_before_asking(signer, tsa):
    """The engine's hard binding covers the RIFF length; an update would break it."""
    plain = ManifestSigner(signer).sign(unsigned_picture(MediaType.WEBP), sample_claim())
    before = tsa.requests
    with pytest.raises(SigningError, match="WebP"):
        service(signer, tsa).add_late_timestamp(plain.image, SERVICE)
    assert tsa.requests == before
