"""Bech32m against BIP-350's vectors, an oracle of bit strings, and damage to a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol import bech32m
from omnitensor.protocol.bech32m import Bech32mError
from omnitensor.protocol.errors import KeyFormatError
from tests.protocol.vector_file import VectorFile

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

hrps = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12).map(str.lower)
payloads = st.binary(max_size=40)


def letters_of(payload: bytes) -> str:
    """The data letters of a payload, by its bits as text."""
    bits = "".join(f"{byte:08b}" for byte in payload)
    bits += "0" * (-len(bits) % 5)
    return "".join(LETTERS[int(bits[i : i + 5], 2)] for i in range(0, len(bits), 5))


def test_bip350_vectors() -> None:
    file = VectorFile("vectors/bech32m.json", depth=2)
    for _, text in file.under("valid"):
        hrp, words = bech32m.decode_words(text)
        assert bech32m.encode_words(hrp, words) == text.lower()
    for _, case in file.under("invalid"):
        with pytest.raises(Bech32mError):
            bech32m.decode_words(case["string"])
        with pytest.raises(Bech32mError):
            bech32m.decode(case["string"])
    file.done()


def test_the_separator_is_the_last_one() -> None:
    hrp, words = bech32m.decode_words(
        "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8"
    )
    assert (hrp, words) == ("1", [31] * 82)


@given(hrps, payloads)
def test_round_trip(hrp: str, payload: bytes) -> None:
    text = bech32m.encode(hrp, payload, chars_max=200)
    assert text[:-6] == f"{hrp}1{letters_of(payload)}"
    assert bech32m.decode(text, hrp, chars_max=200) == (hrp, payload)
    assert bech32m.decode(text.upper(), chars_max=200) == (hrp, payload)


@given(payloads, st.data())
def test_up_to_three_wrong_letters_are_found(payload: bytes, draw: st.DataObject) -> None:
    text = bech32m.encode("omnit", payload)
    places = draw.draw(st.lists(st.integers(6, len(text) - 1), min_size=1, max_size=3, unique=True))
    damaged = list(text)
    for place in places:
        damaged[place] = draw.draw(st.sampled_from([letter for letter in LETTERS if letter != text[place]]))
    with pytest.raises(Bech32mError, match="checksum"):
        bech32m.decode("".join(damaged))


@given(st.text(max_size=100))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        hrp, payload = bech32m.decode(text)
    except Bech32mError:
        return
    assert bech32m.encode(hrp, payload) == text.lower()


def test_case_length_and_hrp() -> None:
    text = bech32m.encode("omnit", bytes(33))
    mixed = text[:-1] + text[-1].upper() if text[-1].isalpha() else text[:5].upper() + text[5:]
    with pytest.raises(Bech32mError, match="case"):
        bech32m.decode(mixed)
    with pytest.raises(Bech32mError, match="begins with 'omnit', not 'omsk'"):
        bech32m.decode(text, "omsk")
    with pytest.raises(Bech32mError, match="characters"):
        bech32m.decode(text, chars_max=len(text) - 1)
    assert bech32m.decode(text, chars_max=len(text))[1] == bytes(33)
    with pytest.raises(AssertionError):
        bech32m.encode("omnit", bytes(60))


@pytest.mark.parametrize("words", [[0, 1], [0], [31, 31], [0] * 9, [0] * 13 + [7, 31]])
def test_padding_that_is_long_or_not_zero_is_refused(words: list[int]) -> None:
    text = bech32m.encode_words("omnit", words)
    assert bech32m.decode_words(text) == ("omnit", words)
    with pytest.raises(Bech32mError, match="padding"):
        bech32m.decode(text)


def test_the_older_checksum_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="checksum"):
        bech32m.decode("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw")
