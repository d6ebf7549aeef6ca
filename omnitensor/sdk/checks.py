"""What a machine can say of an item by itself: whether it decodes, is whole, unique, in the language and size asked for.

Every point taken away has a reason in words. What these checks can't see (whether a text is true, whether a picture shows
what was asked) is the user's scorer's to say; without one, nothing speaking against an item counts as sound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from omnitensor.media import kind_of
from omnitensor.media.language import UNDECIDED, guess_language
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.reviews import FLAGS_ALL, SCORE_MAX, Flag, ItemScore
from omnitensor.sdk.batches import DataBatch, DataItem, Judgement, ValidationResults
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.findings import Finding, bounds
from omnitensor.sdk.media import agrees, type_matches
from omnitensor.sdk.media_checks import check_media
from omnitensor.sdk.requirements import Requirements, requirements_in
from omnitensor.sdk.results import Nearest, SpecInfo

SOUND: Final = 85
"""Score of a criterion that nothing speaks against."""
TEXT_CHARS_SHORT: Final = 20
WORDS_SHORT: Final = 4
LETTERS_MIN_BPS: Final = 5_000
PACKED_MIN_BPS: Final = 1_000
"""A running text does not compress below a tenth of its length."""
PACKED_FROM_BYTES: Final = 600
FINGERPRINT_BITS: Final = 256
text_bytes_max: Final = 16 * MIB
"""What is looked at of a text."""

Scorer = Callable[[DataItem], Any]
"""The user's own judge: returns an ItemScore, three numbers 0..100, or a mapping of criterion names to numbers (and
``flags``, ``reasons``). What it leaves out stays as the checks have it."""


def validate(
    batch: DataBatch, scorer: Scorer | None = None, *, language: str = "", lenient: bool = False
) -> ValidationResults:
    """Judge every item of a batch. `language` is asked for where the instructions name none.

    Raises InputError, naming the item, when the scorer fails; with `lenient` the checks alone judge that item.
    """
    wanted = requirements_in(batch.instructions)
    if language and not wanted.language:
        wanted = msgspec.structs.replace(wanted, language=language)
    duplicates = duplicates_in(batch.items)
    judgements = []
    for item in batch.items:
        findings = check_item(item, batch.spec, wanted)
        if item.position in duplicates:
            first = duplicates[item.position]
            findings.append(
                Finding(f"the same bytes as item {first}", 10, 10, 10, int(Flag.DUPLICATE)),
            )
        if item.near is not None:
            findings.append(_near(item.near))
        judged = _judge(item, findings, scorer, lenient)
        if item.position in duplicates and item.near is None:
            judged = msgspec.structs.replace(judged, duplicate_of=duplicates[item.position])
        if item.near is not None:
            judged = msgspec.structs.replace(judged, duplicate_of=item.near.item)
        judgements.append(judged)
    return ValidationResults(batch.batch, batch.round, batch.campaign, judgements)


def _near(near: Nearest) -> Finding:
    """Leaves the scores alone: what an item is worth by itself is not what speaks against it."""
    bits = f"{near.distance} of {FINGERPRINT_BITS} bits of their fingerprints differ"
    reason = f"nearly repeats item {near.item}: {bits}{', proven by work' if near.proven else ''}"
    return Finding(reason, flags=int(Flag.DUPLICATE))


def duplicates_in(items: Sequence[DataItem]) -> dict[int, int]:
    """Positions of items whose bytes an earlier item (the lower id) of the batch has, with that item's id."""
    first: dict[str, DataItem] = {}
    for item in sorted(items, key=lambda each: each.item):
        first.setdefault(item.sameness, item)
    return {item.position: first[item.sameness].item for item in items if first[item.sameness] is not item}


def check_item(item: DataItem, spec: SpecInfo, wanted: Requirements) -> list[Finding]:
    """Everything that speaks against an item; empty when nothing does."""
    if item.path is None:
        return [Finding(item.fault or "no node could serve its bytes", 0, 0, 0, int(Flag.UNAVAILABLE))]
    seen = item.look()
    facts = seen.facts
    if facts.size == 0:
        return [Finding("the file is empty", 0, 0, 0)]
    findings = []
    if facts.size > spec.item_bytes_max:
        findings.append(
            Finding(f"{facts.size} bytes, over the campaign's {spec.item_bytes_max}", completeness=20)
        )
    if facts.fault:
        return [*findings, Finding(f"does not decode: {facts.fault}", 0, 0, 0)]
    if not agrees(item.media_type, facts):
        findings.append(
            Finding(
                f"declared as {item.media_type}, but its bytes are {facts.media_type}",
                accuracy=10,
                relevance=30,
            )
        )
    if not any(type_matches(pattern, item.media_type) for pattern in spec.media):
        findings.append(Finding(f"{item.media_type} is not among the campaign's media", relevance=10))
    if kind_of(facts.media_type) == "text":
        return findings + _check_text(item, wanted)
    return findings + check_media(seen, wanted)


def _check_text(item: DataItem, wanted: Requirements) -> list[Finding]:
    assert item.path is not None
    with item.path.open("rb") as file:
        raw = file.read(text_bytes_max)
    text = raw.decode("utf-8", "ignore").strip()  # sniffed as UTF-8: only a cut at the end is ignored
    words = text.split()
    findings = []
    if not text:
        return [Finding("the text is blank", 0, 0, 0)]
    if len(text) < TEXT_CHARS_SHORT or len(words) < WORDS_SHORT:
        findings.append(Finding(f"only {len(words)} words in {len(text)} characters", completeness=30))
    dense = [letter for letter in text if not letter.isspace()]
    letters = sum(letter.isalpha() for letter in dense)
    if letters * 10_000 < LETTERS_MIN_BPS * len(dense) and item.media_type in ("text/plain", "text/markdown"):
        findings.append(
            Finding(f"{letters} of {len(dense)} characters are letters: hardly a text", accuracy=30)
        )
    packed = len(zlib.compress(raw, 6))
    if len(raw) >= PACKED_FROM_BYTES and packed * 10_000 < PACKED_MIN_BPS * len(raw):
        findings.append(Finding(f"it repeats itself: {len(raw)} bytes say what {packed} can", 25, 25))
    return findings + _text_bounds(text, len(words), wanted) + _text_subject(text, wanted)


def _text_bounds(text: str, words: int, wanted: Requirements) -> list[Finding]:
    measures = (
        ("characters", len(text), wanted.characters_min, wanted.characters_max),
        ("words", words, wanted.words_min, wanted.words_max),
    )
    return bounds(measures)


def _text_subject(text: str, wanted: Requirements) -> list[Finding]:
    findings = []
    if wanted.language:
        guess = guess_language(text)
        if guess.language not in (UNDECIDED, wanted.language):
            findings.append(Finding(f"the language is {guess.language}, not {wanted.language}", relevance=15))
    lowered = text.lower()
    if wanted.keywords and not any(word in lowered for word in wanted.keywords):
        findings.append(Finding(f"none of the keywords {', '.join(wanted.keywords)}", relevance=30))
    return findings


def _judge(item: DataItem, findings: Sequence[Finding], scorer: Scorer | None, lenient: bool) -> Judgement:
    """The lowest of what the checks leave and the scorer gives."""
    given: Mapping[str, Any] = {}
    reasons = [finding.reason for finding in findings]
    if scorer is not None and item.path is not None:
        try:
            given = _given(scorer(item))
        except Exception as error:  # the user's code may raise anything
            if not lenient:
                raise InputError(
                    f"the scorer failed on item {item.item} ({type(error).__name__}: {error})",
                    value=item.path,
                    remedy="mend the scorer; nothing was submitted",
                ) from error
            reasons.append(f"the scorer failed ({type(error).__name__})")
    scores = {
        name: min(
            [_in_range(given.get(name, SOUND), name, item), *(getattr(finding, name) for finding in findings)]
        )
        for name in ("completeness", "accuracy", "relevance")
    }
    flags = int(given.get("flags", 0))
    for finding in findings:
        flags |= finding.flags
    if not 0 <= flags <= FLAGS_ALL:
        raise InputError("not flags of a report", value=flags, remedy="combine omnitensor.sdk.Flag")
    reasons += [str(reason) for reason in given.get("reasons", ())]
    if not reasons:
        reasons = [
            "scored by the given scorer" if given else "decodes, is whole, and nothing speaks against it"
        ]
    return Judgement(item.position, item.item, **scores, flags=flags, reasons=tuple(reasons))


def _given(answer: Any) -> Mapping[str, Any]:
    """A scorer's answer by criterion."""
    names = ("completeness", "accuracy", "relevance")
    if answer is None:
        return {}
    if isinstance(answer, ItemScore):
        return {**dict(zip(names, answer.criteria, strict=True)), "flags": answer.flags}
    if isinstance(answer, Mapping):
        unknown = set(answer) - {*names, "flags", "reasons"}
        if unknown:
            raise ValueError(f"unknown names {sorted(unknown)}")
        return answer
    if isinstance(answer, int | float):
        return dict.fromkeys(names, answer)
    completeness, accuracy, relevance, *flags = answer
    return {
        **dict(zip(names, (completeness, accuracy, relevance), strict=True)),
        "flags": flags[0] if flags else 0,
    }


def _in_range(value: Any, name: str, item: DataItem) -> int:
    try:
        score: int = round(value)
    except (TypeError, ValueError, OverflowError):
        score = -1
    if not 0 <= score <= SCORE_MAX:
        raise InputError(f"{name} of item {item.item} is no score", value=value, remedy="scores are 0 to 100")
    return score
