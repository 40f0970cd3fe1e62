"""What the routes of the log answer.

The examples are those of a real log of two leaves, whose proofs hold; a test checks them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "KEY_EXAMPLE",
    "ConsistencyView",
    "HeadView",
    "InclusionView",
    "LeafView",
    "LeavesView",
]

HEAD_EXAMPLE: dict[str, Any] = {
    "type": "head",
    "tree_size": 2,
    "timestamp_ms": 1795000000000,
    "root_hash": "dafa607b71d46d136d0d9cc712a576590c2a4d1a6666a1694d59d34e25f578f8",
    "log_id": "2222a0341d33d16a635cd0c41d2981dc96ee9bdcc4cb76eefdb45fc414eeca94",
    "signature": "13f266c8540de0e885e09de47eeb7d51a83a25a411ab32cc9f3c34ad7052a94e"
    "faa683de395ad4a7ac9930fcd563d73709ea5f7a0c7185a44493312685f3af02",
}
KEY_EXAMPLE = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA+oEwvmlC7su4CfGGmNL3VRAMpgjNH6xIbS/OSb+pZcU=
-----END PUBLIC KEY-----
"""
LEAF_EXAMPLE = (
    '{"kind":"refusal","record_sha256":'
    '"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","version":1}'
)
PATH_EXAMPLE = ["053fae3f8b511a7f91f65e406f4af93fceaa6a6a0dd3579ba853244ba5fbf911"]
INCLUSION_EXAMPLE = {
    "type": "inclusion",
    "leaf_index": 0,
    "leaf": LEAF_EXAMPLE,
    "path": PATH_EXAMPLE,
    "head": HEAD_EXAMPLE,
}
CONSISTENCY_EXAMPLE = {
    "type": "consistency",
    "first_size": 1,
    "path": PATH_EXAMPLE,
    "head": HEAD_EXAMPLE,
}
LEAVES_EXAMPLE = {
    "leaves": [
        {
            "index": 0,
            "kind": "refusal",
            "leaf": LEAF_EXAMPLE,
            "leaf_hash": "2914aa186ea3af0a445287bfeeda9190d5657358f76105bf355f43a65c97ff26",
        }
    ]
}


def _config(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


class HeadView(BaseModel):
    """A signed head (RFC 9162); digests and signature in hex."""

    model_config = _config(HEAD_EXAMPLE)

    type: Literal["head"]
    tree_size: int
    timestamp_ms: int
    root_hash: str
    log_id: str
    signature: str


class InclusionView(BaseModel):
    """That a leaf stands in the log; see `registry.log_proofs`."""

    model_config = _config(INCLUSION_EXAMPLE)

    type: Literal["inclusion"]
    leaf_index: int
    leaf: str
    path: list[str]
    head: HeadView


class ConsistencyView(BaseModel):
    """That one state of the log begins with another; see `registry.log_proofs`."""

    model_config = _config(CONSISTENCY_EXAMPLE)

    type: Literal["consistency"]
    first_size: int
    path: list[str]
    head: HeadView


class LeafView(BaseModel):
    """One leaf: canonical JSON of digests, and its hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    kind: str
    leaf: str
    leaf_hash: str


class LeavesView(BaseModel):
    """Leaves in order."""

    model_config = _config(LEAVES_EXAMPLE)

    leaves: list[LeafView]
