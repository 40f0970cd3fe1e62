"""A time-stamp authority on 127.0.0.1, for tests and demonstrations. Nobody else trusts it.

Speaks RFC 3161 over HTTP, with a root of its own; can be told to misbehave. Needs ``asn1crypto``
(extra ``dev``).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LocalTsa", "TsaMode"]


class TsaMode(StrEnum):
    """How the authority behaves."""

    GOOD = "good"
    REFUSES = "refuses"
    ANSWERS_503 = "answers_503"
    ANSWERS_GARBAGE = "answers_garbage"
    STAMPS_SOMETHING_ELSE = "stamps_something_else"
    HANGS = "hangs"


_REJECTION = bytes.fromhex("30053003020102")
"""TimeStampResp with PKIStatus 2 (rejection) and no token. Source: RFC 3161 §2.4.2."""


class LocalTsa:
    """A context manager that listens while it is entered.

    Attributes:
        url: Where it listens.
        root_pem: Its root, for trust settings.
        mode: May be changed between requests.
        requests: How many requests came in.
    """

    def __init__(
        self,
        *,
        mode: TsaMode = TsaMode.GOOD,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Makes root and certificate.

        Args:
            mode: How it behaves.
            clock: The time that it stamps, UTC.
        """
        self.mode = mode
        self.requests = 0
        self._clock = clock
        self._released = threading.Event()
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate("Local Test TSA Root", root_key, issuer=None)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf = _certificate("Local Test TSA", self._key, issuer=(root, root_key))
        self.root_pem = root.public_bytes(serialization.Encoding.PEM)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tsa"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, answer = authority._answer(body)
                self.send_response(status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Says nothing: tests read the counter instead."""

        return Handler

    def _answer(self, body: bytes) -> tuple[int, bytes]:
        self.requests += 1
        if self.mode is TsaMode.HANGS:
            # Until the test ends: longer than any client waits.
            self._released.wait()
            return 503, b""
        if self.mode is TsaMode.ANSWERS_503:
            return 503, b""
        if self.mode is TsaMode.ANSWERS_GARBAGE:
            return 200, b"this is no time-stamp"
        if self.mode is TsaMode.REFUSES:
            return 200, _REJECTION
        return 200, self._stamp(tsp.TimeStampReq.load(body))

    def _stamp(self, request: Any) -> bytes:
        imprint = request["message_imprint"]
        if self.mode is TsaMode.STAMPS_SOMETHING_ELSE:
            imprint = tsp.MessageImprint(
                {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": bytes(32)}
            )
        info = {
            "version": "v1",
            "policy": "1.2.3.4.1",
            "message_imprint": imprint,
            "serial_number": secrets.randbits(63),
            "gen_time": self._clock().replace(microsecond=0),
            "accuracy": {"seconds": 1},
        }
        if request["nonce"].native is not None:
            info["nonce"] = request["nonce"].native
        content = tsp.TSTInfo(info).dump()
        response = tsp.TimeStampResp(
            {"status": {"status": "granted"}, "time_stamp_token": self._token(content)}
        )
        return bytes(response.dump())

    def _token(self, content: bytes) -> cms.ContentInfo:
        """Wraps a TSTInfo in SignedData. Source: RFC 3161 §2.4.2, RFC 5652 §5, RFC 5816."""
        certificate = asn1_x509.Certificate.load(
            self._leaf.public_bytes(serialization.Encoding.DER)
        )
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute(
                    {"type": "message_digest", "values": [hashlib.sha256(content).digest()]}
                ),
                cms.CMSAttribute(
                    {
                        "type": "signing_certificate_v2",
                        "values": [
                            tsp.SigningCertificateV2(
                                {
                                    "certs": [
                                        tsp.ESSCertIDv2(
                                            {
                                                "cert_hash": hashlib.sha256(
                                                    certificate.dump()
                                                ).digest()
                                            }
                                        )
                                    ]
                                }
                            )
                        ],
                    }
                ),
            ]
        )
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    {
                        "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                            {
                                "issuer": certificate.issuer,
                                "serial_number": certificate.serial_number,
                            }
                        )
                    }
                ),
                "digest_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": self._key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
                "encap_content_info": {
                    "content_type": "tst_info",
                    "content": core.ParsableOctetString(content),
                },
                "certificates": [cms.CertificateChoices("certificate", certificate)],
                "signer_infos": [signer],
            }
        )
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})


def _certificate(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Countermark tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    issuer_key = key if issuer is None else issuer[1]
    is_root = issuer is None
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Tests stamp the past, so the authority is older than they are.
        .not_valid_before(now - timedelta(days=3650))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(
            x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_root,
                key_cert_sign=is_root,
                crl_sign=is_root,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not is_root:
        # Source: RFC 3161 §2.3: exactly this usage, critical.
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())
