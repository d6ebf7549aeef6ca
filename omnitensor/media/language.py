"""A guess at the language of a text, by its script and its commonest small words. Says "und" rather than guess wildly.

Made for telling a text in the asked language from one in another; it is no judge of style, and short texts stay undecided.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

import msgspec

UNDECIDED: Final = "und"
SAMPLE_CHARS: Final = 20_000
WORDS_MIN: Final = 12
"""Below this many words a Latin or Cyrillic text stays undecided."""
HITS_MIN_BPS: Final = 600
"""Share of small words that a running text of its own language has at the very least."""
LEAD_BPS: Final = 12_500
"""How far ahead of the second language the first must be."""

_WORDS: Final = {
    "en": "the of and to in is that it for was with as on be by this are not or from but at have an which you",
    "de": "der die und in das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec",
    "es": "de la que el en y los se del las un por con no una su para es al lo como más pero sus le ya o este",
    "it": "di e il la che in un a è per una sono con non del da le si dei nel alla come più ma della gli lo",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das",
    "nl": "de van het een en in is dat op te zijn met voor niet aan er om die als ook door maar bij nog uit",
    "sv": "och i att det som en på är av för med den till inte om ett han men var jag sig från vi så kan",
    "da": "og i at det er en til på som af den med for der ikke de et har om han var men vi fra jeg",
    "pl": "w i na z do się nie to że o jest po od za jak przez ale dla są co tak tym był oraz który",
    "tr": "ve bir bu da için ile de çok olarak daha olan gibi ne kadar sonra en var o ama mi değil ki",
    "id": "yang dan di dengan untuk dari ini pada itu adalah tidak dalam ke akan juga karena oleh atau ada",
    "ru": "и в не на что с по как это он а но к у из за от так же для было все его то бы",
    "uk": "і в не на що з як це та до він а але у за від так же для було все його то би",
    "bg": "и на се да в от за е с не по че са като до при или този но си ще което има към",
}
_SMALL: Final = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_BY_SCRIPT: Final = {
    "LATIN": ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "tr", "id"),
    "CYRILLIC": ("ru", "uk", "bg"),
}
_SCRIPT_LANGUAGE: Final = {
    "GREEK": "el",
    "HEBREW": "he",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "THAI": "th",
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
}
_LETTERS: Final = re.compile(r"[^\W\d_]+")


class Guess(msgspec.Struct, frozen=True):
    """A language (ISO 639-1, or ``und``), the script most letters are of, and how many words were looked at."""

    language: str
    script: str
    words: int


def guess_language(text: str) -> Guess:
    """The language of a text, from its first 20,000 characters."""
    words = _LETTERS.findall(text[:SAMPLE_CHARS].lower())
    scripts = Counter(script for word in words for letter in word if (script := _script(letter)))
    if not scripts:
        return Guess(UNDECIDED, "", 0)
    script = scripts.most_common(1)[0][0]
    if script == "CJK" and scripts["HIRAGANA"] + scripts["KATAKANA"] > scripts["CJK"] // 10:
        script = "HIRAGANA"
    if script not in _BY_SCRIPT:
        return Guess(_SCRIPT_LANGUAGE.get(script, UNDECIDED), script, len(words))
    return Guess(_by_small_words(words, _BY_SCRIPT[script]), script, len(words))


def _by_small_words(words: list[str], languages: tuple[str, ...]) -> str:
    if len(words) < WORDS_MIN:
        return UNDECIDED
    hits = sorted(
        ((sum(word in _SMALL[language] for word in words), language) for language in languages), reverse=True
    )
    (most, best), (second, _) = hits[0], hits[1]
    clear = most * 10_000 >= HITS_MIN_BPS * len(words) and most * 10_000 >= second * LEAD_BPS
    return best if clear else UNDECIDED


@lru_cache(maxsize=8_192)
def _script(letter: str) -> str:
    """The first word of a letter's name in Unicode: its script."""
    return unicodedata.name(letter, "").partition(" ")[0]
