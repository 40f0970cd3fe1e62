"""Verifies SM2 signatures with SM3, which the label of GB 45438 may carry. Verification only.

Only public values are touched, so that nothing here needs to run in constant time.

Source: GB/T 32918.2-2016 §7 (verification), GB/T 32918.5-2017 (curve), GB/T 32905-2016 (SM3).
"""

from __future__ import annotations

import struct
from typing import TypeAlias

__all__ = ["Point", "lift_x", "sm3", "verify"]

Point: TypeAlias = tuple[int, int]

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G: Point = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
DEFAULT_USER = b"1234567812345678"
"""Source: GM/T 0009-2012 §10: the identity that signers without one of their own use."""


def verify(key: Point, message: bytes, signature: tuple[int, int]) -> bool:
    """Whether `signature` (r, s) is `key`'s over `message`, for the default identity."""
    if not _on_curve(key):
        return False
    curve = b"".join(value.to_bytes(32, "big") for value in (A, B, *G, *key))
    identity = sm3(struct.pack(">H", 8 * len(DEFAULT_USER)) + DEFAULT_USER + curve)
    return verify_digest(key, sm3(identity + message), signature)


def verify_digest(key: Point, digest: bytes, signature: tuple[int, int]) -> bool:
    """As `verify`, of a digest that was computed already."""
    r, s = signature
    t = (r + s) % N
    if not (0 < r < N and 0 < s < N and t and _on_curve(key)):
        return False
    point = _add(_multiply(s, G), _multiply(t, key))
    return point is not None and (int.from_bytes(digest, "big") + point[0]) % N == r


def lift_x(x: int, *, odd: bool) -> Point | None:
    """The point of this x whose y is odd or even; None when the curve has none."""
    if not 0 <= x < P:
        return None
    square = (x**3 + A * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    return x, y if y % 2 == odd else P - y


def _on_curve(point: Point) -> bool:
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x**3 + A * x + B)) % P == 0


def _add(one: Point | None, other: Point | None) -> Point | None:
    if one is None or other is None:
        return other if one is None else one
    if one[0] == other[0]:
        if (one[1] + other[1]) % P == 0:
            return None
        slope = (3 * one[0] * one[0] + A) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def _multiply(factor: int, point: Point) -> Point | None:
    total: Point | None = None
    step: Point | None = point
    while factor:
        if factor & 1:
            total = _add(total, step)
        step = _add(step, step)
        factor >>= 1
    return total


# -- SM3 (GB/T 32905-2016 §5) ------------------------------------------------------------------

_MASK = 0xFFFFFFFF
_START: tuple[int, ...] = (
    0x7380166F,
    0x4914B2B9,
    0x172442D7,
    0xDA8A0600,
    0xA96F30BC,
    0x163138AA,
    0xE38DEE4D,
    0xB0FB0E4E,
)


def sm3(message: bytes) -> bytes:
    """The 32-byte digest; OpenSSL builds without SM3 are common, so it is computed here."""
    padding = b"\x80" + bytes((55 - len(message)) % 64) + struct.pack(">Q", 8 * len(message))
    padded = message + padding
    state = _START
    for start in range(0, len(padded), 64):
        state = _compress(state, padded[start : start + 64])
    return struct.pack(">8I", *state)


def _compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    words = list(struct.unpack(">16I", block))
    for j in range(16, 68):
        mixed = words[j - 16] ^ words[j - 9] ^ _turn(words[j - 3], 15)
        words.append(
            mixed ^ _turn(mixed, 15) ^ _turn(mixed, 23) ^ _turn(words[j - 13], 7) ^ words[j - 6]
        )
    a, b, c, d, e, f, g, h = state
    for j in range(64):
        constant = 0x79CC4519 if j < 16 else 0x7A879D8A
        one = _turn((_turn(a, 12) + e + _turn(constant, j % 32)) & _MASK, 7)
        two = one ^ _turn(a, 12)
        if j < 16:
            first, second = a ^ b ^ c, e ^ f ^ g
        else:
            first, second = (a & b) | (a & c) | (b & c), (e & f) | (~e & g)
        t1 = (first + d + two + (words[j] ^ words[j + 4])) & _MASK
        t2 = (second + h + one + words[j]) & _MASK
        a, b, c, d = t1, a, _turn(b, 9), c
        e, f, g, h = t2 ^ _turn(t2, 9) ^ _turn(t2, 17), e, _turn(f, 19), g
    return tuple(old ^ new for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True))


def _turn(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _MASK
