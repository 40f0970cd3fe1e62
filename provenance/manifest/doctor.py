"""Doctor's lines on keys, trust lists and signing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from cryptography import x509

from provenance.config import load_settings
from provenance.errors import ConfigError, ProvenanceError
from provenance.manifest.certificates import parse_certificates
from provenance.manifest.pki import is_development_certificate
from provenance.manifest.profile import check_certificate_chain, is_issued_by, short_name
from provenance.manifest.signers.local_key import check_key_file_mode
from provenance.manifest.trust import AnchorKind, TrustSettings, default_trust
from provenance.manifest.trust_folder import ListRole, TrustFolder, newest
from provenance.types import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provenance.config import Settings

__all__ = ["check_key_files", "check_signing"]


def check_signing() -> Sequence[HealthCheck]:
    """Trust lists, the configured certificate against the profile, and the self-test.

    Raises:
        ConfigError: The settings themselves cannot be read.
    """
    settings = load_settings()
    trust = _official_lists(settings)
    lines = list(_check_lists(trust))
    if settings.manifest.signer != "local-key":
        lines.append(HealthCheck("signing keys", ok=True, detail=settings.manifest.signer))
        return [*lines, _check_self(settings)]
    chain, key = settings.signing_chain_file, settings.signing_key_file
    names_own = settings.manifest.chain_file or settings.manifest.key_file
    if not names_own and not chain.exists() and not key.exists():
        # Not a fault: the first `generate` makes them, and a verifier needs none.
        detail = "none yet; a development chain is made on first use"
        return [*lines, HealthCheck("signing keys", ok=True, detail=detail)]
    checks = check_key_files(chain, key)
    failing = [line for line in checks if not line.ok]
    if not failing:
        lines.append(HealthCheck("signing certificate", ok=True, detail=_summary(chain)))
    lines.extend(failing)
    lines.append(_check_listed(chain, trust))
    lines.append(_check_stamps(settings))
    if all(line.optional for line in failing):
        lines.append(_check_self(settings))
    return lines


def check_key_files(
    chain_file: Path, key_file: Path, *, now: datetime | None = None
) -> Sequence[HealthCheck]:
    """Files, modes and every profile rule of a user's own certificate.

    Args:
        chain_file: Leaf, then intermediates; PEM.
        key_file: The private key.
        now: Time to judge validity by, UTC; the clock when None.
    """
    lines: list[HealthCheck] = []
    contents: list[bytes | None] = []
    for name, path in (("chain file", chain_file), ("key file", key_file)):
        try:
            contents.append(path.read_bytes())
            lines.append(HealthCheck(name, ok=True, detail=str(path)))
        except OSError as error:
            contents.append(None)
            lines.append(
                HealthCheck(
                    name,
                    ok=False,
                    detail=f"{path}: {error.strerror}",
                    remedy="check the path; a development chain is made by: countermark keys init",
                )
            )
    chain_pem, key_pem = contents
    if key_pem is not None:
        lines.append(_check_mode(key_file))
    if chain_pem is not None:
        lines.extend(check_certificate_chain(chain_pem, key_pem, now))
    return lines


def _check_mode(key_file: Path) -> HealthCheck:
    try:
        check_key_file_mode(key_file)
    except ConfigError as error:
        what, _, remedy = str(error).partition("; ")
        return HealthCheck("key file is private", ok=False, detail=what, remedy=remedy)
    return HealthCheck("key file is private", ok=True, detail="only its owner can read it")


def _official_lists(settings: Settings) -> TrustSettings:
    """C2PA's lists in their newest editions, without the operator's own."""
    installed = TrustFolder(settings.trust_folder).load()
    updates = [one for one in installed if one.role is ListRole.UPDATE]
    return TrustSettings(tuple(newest(default_trust().lists, updates)))


def _check_lists(trust: TrustSettings) -> Iterator[HealthCheck]:
    for one in trust.lists:
        due = one.next_update
        is_fresh = due is None or datetime.now(UTC).date() <= due
        yield HealthCheck(
            f"trust list: {one.name}",
            ok=is_fresh,
            detail=f"{len(one.certificates)} certificates, of {_iso(one.dated)}",
            remedy=""
            if is_fresh
            else f"a newer list was due on {_iso(due)}: upgrade countermark, or install it with: "
            "countermark trust update FILE",
            optional=True,
        )


def _iso(day: date | None) -> str:
    return "unknown date" if day is None else day.isoformat()


def _load_chain(chain_file: Path) -> list[x509.Certificate]:
    try:
        return parse_certificates(chain_file.read_bytes(), name=str(chain_file))
    except (OSError, ConfigError):
        return []


def _summary(chain_file: Path) -> str:
    leaf = _load_chain(chain_file)[0]
    return f"{short_name(leaf)}, until {leaf.not_valid_after_utc:%Y-%m-%d}"


def _check_listed(chain_file: Path, trust: TrustSettings) -> HealthCheck:
    chain = _load_chain(chain_file)
    anchors = [
        x509.load_der_x509_certificate(der)
        for one in trust.lists
        if one.kind is AnchorKind.MANIFEST
        for der in one.certificates
    ]
    listed = any(is_issued_by(c, a) or c == a for c in chain for a in anchors)
    if listed:
        return HealthCheck("signer on the C2PA trust list", ok=True, detail="yes", optional=True)
    dev = bool(chain) and is_development_certificate(chain[0])
    what = "a development chain" if dev else "not on the shipped list"
    return HealthCheck(
        "signer on the C2PA trust list",
        ok=False,
        detail=f"{what}: other verifiers will call the signer unknown",
        remedy="install a certificate of a listed authority: countermark keys use --chain --key",
        optional=True,
    )


def _check_stamps(settings: Settings) -> HealthCheck:
    url = settings.manifest.tsa_url
    return HealthCheck(
        "time-stamps",
        ok=bool(url),
        # Not asked here: doctor opens no connection.
        detail=url or "none: manifests count as expired once the certificate has ended",
        remedy="" if url else "set manifest.tsa_url to an RFC 3161 authority",
        optional=True,
    )


def _check_self(settings: Settings) -> HealthCheck:
    # Imported here: loads the C2PA engine.
    from provenance.manifest.selftest import run_self_test
    from provenance.manifest.wiring import build_manifest_signer, build_trust

    try:
        run_self_test(build_manifest_signer(settings), trust=build_trust(settings))
    except ProvenanceError as error:
        what, _, remedy = str(error).partition("; ")
        return HealthCheck("signing self-test", ok=False, detail=what, remedy=remedy or "see above")
    return HealthCheck(
        "signing self-test", ok=True, detail="signs, notices tampering, stays offline"
    )
