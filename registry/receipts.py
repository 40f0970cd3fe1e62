"""Receipts of the resolution API: that a manifest stands in this repository's log. Pure.

A receipt names the repository and the manifest, and anchors both in the append-only log: the leaf
that was written when the manifest came, its place, and the path from it to the root of the log's
tree (RFC 9162). Anyone can check the path, and hold the root against a signed head of that size.

Source: C2PA Soft Binding Resolution API 2.4.0, `manifestReceipt`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any

from registry.merkle import hash_leaf, verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.repository import Leaf

__all__ = ["RECEIPT_TYPE", "build_receipt", "check_receipt", "log_uri"]

RECEIPT_TYPE = "org.c2pa.manifest-receipt"
_CONTEXT = {"@vocab": "urn:countermark:receipt:1:"}
_PROOF_TYPE = "rfc9162-inclusion-1"


def log_uri(first_leaf_hash: bytes) -> str:
    """The name of a log: no other begins with the same leaf."""
    return f"urn:countermark:log:{first_leaf_hash.hex()}"


def build_receipt(
    *, manifest_id: str, repository_uri: str, anchor_uri: str, leaf: Leaf
) -> dict[str, Any]:
    """The receipt of a manifest, as JSON.

    Args:
        manifest_id: Label of the active manifest.
        repository_uri: Where the repository answers.
        anchor_uri: From `log_uri`.
        leaf: What the log says of it.
    """
    return {
        "@context": _CONTEXT,
        "@type": RECEIPT_TYPE,
        "repository": {"uri": repository_uri, "manifestId": manifest_id},
        "anchor": {
            "uri": anchor_uri,
            "proof": {
                "type": _PROOF_TYPE,
                "leafIndex": leaf.index,
                "treeSize": leaf.size,
                "leaf": base64.b64encode(leaf.data).decode("ascii"),
                "path": [one.hex() for one in leaf.path],
                "rootHash": leaf.root.hex(),
            },
        },
    }


def check_receipt(
    receipt: Mapping[str, Any],
    *,
    manifest_id: str,
    store_sha256: str,
    repository_uri: str,
    anchor_uri: str | None,
    root: bytes | None,
) -> str | None:
    """What is wrong with a receipt; None when nothing is.

    Args:
        receipt: By anybody; the schema's fields are there, their content may be anything.
        manifest_id: The manifest that it shall be about.
        store_sha256: Digest of that manifest's bytes here.
        repository_uri: Of this repository.
        anchor_uri: Of this log; None while it is empty.
        root: Of this log at the size that the receipt names; None where it was never so long.
    """
    repository, anchor = receipt["repository"], receipt["anchor"]
    proof = anchor["proof"]
    if repository["manifestId"] != manifest_id:
        return "it is the receipt of another manifest"
    if repository["uri"].rstrip("/") != repository_uri.rstrip("/"):
        return "it was given by another repository"
    if anchor["uri"] != anchor_uri:
        return "it is anchored in another log"
    size = receipt_size(receipt)
    if root is None or size is None:
        return "the log has no state of the size that it names"
    try:
        data = base64.b64decode(str(proof.get("leaf", "")), validate=True)
        path = [bytes.fromhex(str(one)) for one in proof.get("path", ())]
        index = int(proof.get("leafIndex", -1))
        says = json.loads(data).get("manifest_store_sha256")
    except (binascii.Error, ValueError, AttributeError, TypeError):
        return "its proof cannot be read"
    if says != store_sha256:
        return "its leaf is about other bytes than those that are stored"
    if (proof.get("type"), proof.get("rootHash")) != (_PROOF_TYPE, root.hex()):
        return "the log has another root at the size that it names"
    if not verify_inclusion(hash_leaf(data), index, size, path, root):
        return "its path does not lead from its leaf to the log's root"
    return None


def receipt_size(receipt: Mapping[str, Any]) -> int | None:
    """The size of the log that a receipt names."""
    size = receipt["anchor"]["proof"].get("treeSize")
    good = isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**62
    return size if good else None


def digest_store(store: bytes) -> str:
    """As leaves name it."""
    return hashlib.sha256(store).hexdigest()
