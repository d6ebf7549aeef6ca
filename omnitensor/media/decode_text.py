"""In the child: text and tables of text. Characters, lines, words, language; rows and columns. Only the Python library."""

from __future__ import annotations

import codecs
import importlib
import io
import json

from omnitensor.media import decode_csv
from omnitensor.media.facts import Facts, Job, Seen
from omnitensor.media.kinds import CONTROL, CSV, JSON, TEXT, TSV
from omnitensor.media.language import UNDECIDED, guess_language
from omnitensor.protocol import limits

PART_BYTES = 1 << 20
GUESSED_CHARS = 20_000


for _module in ("heapq", "unicodedata", "encodings.utf_8_sig"):
    importlib.import_module(
        _module
    )  # used in passing by what is called here; a confined child can't load them


class NoText(Exception):
    """Why bytes that begin like text are none."""


def see(job: Job, source: io.BufferedReader) -> Seen:
    """Facts of a text; as the kind of text that was declared, or that its name says where it is that."""
    wanted = job.declared or job.named
    try:
        facts, beginning = _read(job, source)
    except NoText as error:
        return Seen(Facts("", job.size, fault=f"neither a known format nor text ({error})"))
    shown = beginning[: limits.preview_text_chars_max] if job.previews else ""
    seen = Seen(facts, text=shown)
    if wanted in (CSV, TSV):
        return _as_table(job, source, seen, wanted)
    if wanted == JSON:
        return _as_json(job, source, seen)
    if not job.declared and job.named:
        facts = _typed(facts, job.named)
    return Seen(facts, text=shown)


def _read(job: Job, source: io.BufferedReader) -> tuple[Facts, str]:
    """Counts of a text and its beginning. Raises NoText. Of a text beyond the limit only so much is read."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    whole = job.size <= limits.media_text_bytes_max
    characters = lines = words = place = 0
    beginning, in_word, ends_line = "", False, True
    while place < limits.media_text_bytes_max:
        part = source.read(min(PART_BYTES, limits.media_text_bytes_max - place))
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            raise NoText(f"byte {place + error.start} is not UTF-8") from error
        if part.translate(None, CONTROL) != part:
            code = next(byte for byte in part if byte in CONTROL)
            raise NoText(f"it holds U+{code:04X}")
        if not part:
            break
        if place < limits.media_words_bytes_max and text:
            words += len(text.split()) - (in_word and not text[0].isspace())
            in_word = not text[-1].isspace()
        if len(beginning) < GUESSED_CHARS:
            beginning += text[: GUESSED_CHARS - len(beginning)]
        place += len(part)
        characters += len(text)
        lines += text.count("\n")
        ends_line = text.endswith("\n") if text else ends_line
    language = guess_language(beginning).language
    if not whole:
        return Facts(TEXT, job.size, language=language), beginning
    counted = words if job.size <= limits.media_words_bytes_max else 0
    return (
        Facts(
            TEXT,
            job.size,
            characters=characters,
            lines=lines + (not ends_line),
            words=counted,
            language=language,
        ),
        beginning,
    )


def _as_table(job: Job, source: io.BufferedReader, seen: Seen, wanted: str) -> Seen:
    """The text as a table. Where it is none: at fault if it was declared one, plain text if only its name says so."""
    if job.size > limits.media_text_bytes_max:
        return Seen(_typed(seen.facts, wanted), text=seen.text)
    source.seek(0)
    try:
        return decode_csv.see(job, source, seen, wanted)
    except decode_csv.NoTable as error:
        if not job.declared:
            return seen
        return Seen(_typed(seen.facts, TEXT, f"declared as {wanted}, and no table ({error})"))


def _as_json(job: Job, source: io.BufferedReader, seen: Seen) -> Seen:
    if job.size <= limits.media_words_bytes_max:
        source.seek(0)
        try:
            json.loads(source.read())
        except (ValueError, RecursionError) as error:
            if not job.declared:
                return seen
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
            return Seen(_typed(seen.facts, TEXT, f"declared as {JSON}, and none ({reason})"))
    return Seen(_typed(seen.facts, JSON), text=seen.text)


def _typed(facts: Facts, media_type: str, fault: str = "") -> Facts:
    language = "" if facts.language == UNDECIDED and media_type in (CSV, TSV, JSON) else facts.language
    return Facts(
        media_type,
        facts.size,
        fault=fault,
        characters=facts.characters,
        lines=facts.lines,
        words=facts.words,
        language=language,
    )
