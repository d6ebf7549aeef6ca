"""Bech32m text (BIP-350), read strictly. Knows letters and a checksum; nothing of what a payload means.

One text has one reading and one payload one lower-case text: mixed case, a wrong checksum, an over-long
text and padding that is not zero are refused. The older Bech32 checksum (constant 1) is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from omnitensor.protocol.errors import KeyFormatError

ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_CONSTANT: Final = 0x2BC830A3
CHECKSUM_WORDS: Final = 6
CHARS_MAX: Final = 90

_RETYPE: Final = "copy it again in full"
_VALUE_OF: Final = {letter: value for value, letter in enumerate(ALPHABET)}
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


class Bech32mError(KeyFormatError):
    """A text that is not well-formed bech32m, or not of the kind expected."""

    code = "bech32m"


def encode(hrp: str, payload: bytes, chars_max: int = CHARS_MAX) -> str:
    """The text of `payload` behind the human-readable part `hrp` (lower-case ASCII, a caller's constant)."""
    return encode_words(hrp, _regroup(payload, 8, 5), chars_max)


def decode(text: str, hrp: str | None = None, chars_max: int = CHARS_MAX) -> tuple[str, bytes]:
    """The human-readable part, in lower case, and the payload of `text`.

    Raises Bech32mError where the text is malformed, or begins with another human-readable part than `hrp`.
    """
    found, words = decode_words(text, chars_max)
    if hrp is not None and found != hrp:
        raise Bech32mError(
            f"this text begins with {found!r}, not {hrp!r}", remedy=f"give the text that begins with {hrp}1"
        )
    bits = len(words) * 5
    padding = bits % 8
    if padding >= 5 or (padding and words[-1] & ((1 << padding) - 1)):
        raise Bech32mError("the padding at the end is not zero, or too long", remedy=_RETYPE)
    return found, bytes(_regroup(words, 5, 8))


def encode_words(hrp: str, words: Sequence[int], chars_max: int = CHARS_MAX) -> str:
    """The text of 5-bit words behind `hrp`."""
    assert hrp == hrp.lower(), f"not in lower case: {hrp!r}"
    assert _is_hrp(hrp), f"not a human-readable part: {hrp!r}"
    assert all(0 <= word < 32 for word in words), "a bech32m word has five bits"
    text = hrp + "1" + "".join(ALPHABET[word] for word in (*words, *_checksum(hrp, words)))
    assert len(text) <= chars_max, f"{len(text)} characters, more than {chars_max}"
    return text


def decode_words(text: str, chars_max: int = CHARS_MAX) -> tuple[str, list[int]]:
    """The human-readable part, in lower case, and the 5-bit words of `text` without their checksum.

    Raises Bech32mError. Its message never repeats the text, which may be a secret; callers that know
    better add the value.
    """
    if len(text) > chars_max:
        raise Bech32mError(f"the text has {len(text)} characters, more than {chars_max}", remedy=_RETYPE)
    if text != text.lower() and text != text.upper():
        raise Bech32mError("the text mixes upper and lower case", remedy="write all of it in lower case")
    hrp, separator, data = text.lower().rpartition("1")
    if not separator:
        raise Bech32mError("there is no separator '1' in the text", remedy=_RETYPE)
    if not _is_hrp(text[: len(hrp)]):
        raise Bech32mError("the part before the last '1' is empty or not printable ASCII", remedy=_RETYPE)
    words = [_VALUE_OF.get(letter, -1) for letter in data]
    if -1 in words:
        raise Bech32mError(
            f"character {len(hrp) + 2 + words.index(-1)} is not of the bech32m alphabet", remedy=_RETYPE
        )
    if len(words) < CHECKSUM_WORDS:
        raise Bech32mError("the text is too short for a checksum", remedy=_RETYPE)
    if _polymod((*_expand(hrp), *words)) != CHECKSUM_CONSTANT:
        raise Bech32mError("the checksum does not agree with the text", remedy=_RETYPE)
    return hrp, words[:-CHECKSUM_WORDS]


def _is_hrp(text: str) -> bool:
    return bool(text) and all(33 <= ord(letter) <= 126 for letter in text)


def _expand(hrp: str) -> Iterable[int]:
    codes = [ord(letter) for letter in hrp]
    return (*(code >> 5 for code in codes), 0, *(code & 31 for code in codes))


def _checksum(hrp: str, words: Sequence[int]) -> list[int]:
    remainder = _polymod((*_expand(hrp), *words, *([0] * CHECKSUM_WORDS))) ^ CHECKSUM_CONSTANT
    return [remainder >> 5 * (CHECKSUM_WORDS - 1 - i) & 31 for i in range(CHECKSUM_WORDS)]


def _polymod(words: Iterable[int]) -> int:
    """The remainder of the words, as a polynomial over GF(32), by the code's generator (BIP-173)."""
    remainder = 1
    for word in words:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                remainder ^= generator
    return remainder


def _regroup(values: Iterable[int], bits_from: int, bits_to: int) -> list[int]:
    """Groups of `bits_from` bits as groups of `bits_to`; a rest is zero-padded or, going up, dropped."""
    held, held_bits, grouped = 0, 0, []
    for value in values:
        held = held << bits_from | value
        held_bits += bits_from
        while held_bits >= bits_to:
            held_bits -= bits_to
            grouped.append(held >> held_bits)
            held &= (1 << held_bits) - 1
    if held_bits and bits_to < bits_from:
        grouped.append(held << (bits_to - held_bits))
    return grouped
