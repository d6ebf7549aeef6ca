"""What is wrong with a campaign that somebody wrote: every key, type and range at once, each with its line and what to do.

Knows the form that people write (`specs.CampaignDraft`) and what the chain takes; asks no node.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import AmountError, parse_omnit
from omnitensor.protocol.sealing import is_reading_key
from omnitensor.protocol.types import BPS
from omnitensor.sdk.faults import Fault, FaultsError, shown

FACTOR_MAX: Final = 100
"""Largest complexity tier and importance: a hundredfold."""
GUIDE: Final = "docs/guides/sponsor.md"

Path = tuple[str | int, ...]
"""Where a value is: ("unit_price",), or ("categories", 0, "importance")."""
Lines = Mapping[Path, int]
"""The line on which a value stands, of those that were found; 0 for one that came as an option of a command."""


class SpecError(FaultsError):
    """A campaign with one fault or more."""

    code = "campaign_file"


class Rule(NamedTuple):
    """What a value must be, an example, and whether one is; the value has the right type already."""

    must: str
    example: str
    holds: Callable[[Any], bool]


def _amount(text: str) -> bool:
    try:
        return parse_omnit(text) >= 0
    except AmountError:
        return False


def _paid(text: str) -> bool:
    return _amount(text) and parse_omnit(text) > 0


def _text(least: int, most: int) -> Callable[[str], bool]:
    return lambda value: least <= len(value.strip()) and len(value) <= most


def _number(least: int, most: int) -> Callable[[int], bool]:
    return lambda value: least <= value <= most


_MEDIA: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*/(?:\*|[a-z0-9][a-z0-9.+-]*)")


def _media(values: Sequence[str]) -> bool:
    return 1 <= len(values) <= limits.campaign_media_max and all(
        len(value) <= limits.media_type_chars_max and _MEDIA.fullmatch(value.strip().lower())
        for value in values
    )


def _tiers(values: Sequence[int]) -> bool:
    return 1 <= len(values) <= limits.campaign_tiers_max and all(
        0 < value <= FACTOR_MAX * BPS for value in values
    )


_SHARE: Final = _number(0, BPS)
_HEIGHT: Final = _number(1, 2**63 - 1)
_SEATS: Final = limits.seats_per_round_max


def _reading_key(value: str) -> bool:
    try:
        return value == "" or is_reading_key(bytes.fromhex(value))
    except ValueError:
        return False


RULES: Final[dict[str, Rule]] = {
    "title": Rule(
        f"text of 1 to {limits.title_chars_max} characters",
        'title = "Photographs of owls"',
        _text(1, limits.title_chars_max),
    ),
    "unit_price": Rule("an amount in OMNIT", 'unit_price = "4"', _amount),
    "review_fee": Rule("an amount in OMNIT above zero", 'review_fee = "0.5"', _paid),
    "budget": Rule("an amount in OMNIT above zero", 'budget = "1000"', _paid),
    "item_bond": Rule("an amount in OMNIT", 'item_bond = "0.2"', _amount),
    "instructions": Rule(
        f"text of up to {limits.instructions_chars_max} characters",
        "put the rest into a specification_file",
        _text(0, limits.instructions_chars_max),
    ),
    "licence": Rule(
        f"an SPDX identifier of up to {limits.licence_chars_max} characters",
        'licence = "CC-BY-4.0"',
        _text(1, limits.licence_chars_max),
    ),
    "media": Rule(
        f"1 to {limits.campaign_media_max} media types, as text/plain or image/*",
        'media = ["image/jpeg", "image/png"]',
        _media,
    ),
    "tiers": Rule(
        f"1 to {limits.campaign_tiers_max} numbers of basis points, each 1 to {FACTOR_MAX * BPS}",
        "tiers = [5000, 10000, 20000]",
        _tiers,
    ),
    "criterion_weights": Rule(
        f"three shares in basis points that sum to {BPS}",
        "criterion_weights = [3000, 4000, 3000]",
        lambda values: min(values) >= 0 and sum(values) == BPS,
    ),
    "thresholds": Rule(
        "three scores, each 0 to 100",
        "thresholds = [60, 60, 60]",
        lambda values: all(map(_number(0, 100), values)),
    ),
    "private": Rule("true or false", "private = true", lambda value: True),
    "reading_key": Rule(
        "the 64 hexadecimal digits of an X25519 public key",
        "leave it out: the key is then yours",
        _reading_key,
    ),
    "overall_threshold": Rule("a score, 0 to 100", "overall_threshold = 60", _number(0, 100)),
    "first_seats": Rule(f"a number from 1 to {_SEATS}", "first_seats = 5", _number(1, _SEATS)),
    "second_seats": Rule(f"a number from 0 to {_SEATS}", "second_seats = 11", _number(0, _SEATS)),
    "agree_min_bps": Rule(f"basis points, 0 to {BPS}", "agree_min_bps = 7000", _SHARE),
    "audit_bps": Rule(f"basis points, 0 to {BPS}", "audit_bps = 500", _SHARE),
    "contributor_share_max_bps": Rule(
        f"basis points, 0 to {BPS}", "contributor_share_max_bps = 2500", _SHARE
    ),
    "item_bytes_max": Rule(
        f"a number of bytes, 1 to {limits.content_bytes_max}",
        "item_bytes_max = 10485760",
        _number(1, limits.content_bytes_max),
    ),
    "closes_in_blocks": Rule("a number of blocks above zero", "closes_in_blocks = 86400", _HEIGHT),
    "closes_at": Rule("a height above zero", "closes_in_blocks = 86400", _HEIGHT),
    "name": Rule(
        f"text of 1 to {limits.name_chars_max} characters",
        'name = "general"',
        _text(1, limits.name_chars_max),
    ),
    "importance": Rule(
        f"a factor from 0.0001 to {FACTOR_MAX}",
        "importance = 1.5",
        lambda value: (
            0 < value <= FACTOR_MAX and round(value * BPS) >= 1
        ),  # no infinity, and what is no number
    ),
    "target": Rule("a number of items, 0 for no bound", "target = 200", _number(0, 2**32 - 1)),
}
AMOUNTS: Final = ("unit_price", "review_fee", "budget", "item_bond")


class Checker:
    """Looks through values for faults, key by key."""

    def __init__(self, where: str, lines: Lines | None = None, presets: Sequence[str] = ()) -> None:
        self._where = where
        self._lines = lines or {}
        self._presets = tuple(presets)
        self._found: list[tuple[int, Fault]] = []

    @property
    def faults(self) -> list[Fault]:
        """What was found, in the order of lines; what has none comes last."""
        return [fault for _, fault in sorted(self._found, key=lambda each: each[0])]

    def add(self, path: Path, reason: str, value: object, remedy: str) -> None:
        line = self._line(path)
        where = self._where if line is None else f"{self._where}, line {line}"
        if line == 0:
            where = f"option --{str(path[0]).replace('_', '-')}"
        self._found.append((2**62 if line is None else line, Fault(where, reason, shown(value), remedy)))

    def _line(self, path: Path) -> int | None:
        """The line of a value, or of what it is in."""
        return next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), None)

    def fields(self, kind: type[msgspec.Struct], given: Mapping[str, Any], path: Path = ()) -> None:
        """Unknown and missing keys, types, and ranges."""
        known = {field.name: field for field in msgspec.structs.fields(kind)}
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                meant = f"did you mean {near[0]}?" if near else f"the keys are in {GUIDE}"
                self.add(
                    (*path, name), f"a campaign has no key {name}", value, f"{meant} Remove it or correct it"
                )
            elif name == "categories" and isinstance(value, list) and not path:
                self._categories(known[name].type, value)
            else:
                self._value(name, known[name].type, value, (*path, name))
        for name, field in known.items():
            if field.required and name not in given:
                self.add(
                    (*path, name), f"the key {name} is missing", "", f"write it like {RULES[name].example}"
                )

    def _value(self, name: str, kind: Any, value: Any, path: Path) -> None:
        rule = RULES.get(name)
        if name in AMOUNTS and isinstance(value, int | float) and not isinstance(value, bool):
            value = (
                shown(value) if isinstance(value, int) else str(value)
            )  # an integer may be too long to write
        try:
            value = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            must = rule.must if rule else f"something else ({error})"
            self.add(path, f"{name} must be {must}", value, _like(rule))
            return
        if name == "preset" and value not in self._presets:
            self.add(path, "no such preset", value, f"choose {', '.join(self._presets)}")
        elif rule is not None and value is not None and not rule.holds(value):
            self.add(path, f"{name} must be {rule.must}", value, _like(rule))

    def _categories(self, kind: Any, values: list[Any]) -> None:
        (category,) = kind.__args__
        most = limits.campaign_categories_max
        if not 1 <= len(values) <= most:
            self.add(("categories",), f"categories must be 1 to {most} tables", len(values), "leave some out")
        names: dict[str, int] = {}
        for place, value in enumerate(values):
            path: Path = ("categories", place)
            if not isinstance(value, Mapping):
                self.add(
                    path, "a category is a table", value, 'write [[categories]] and below it name = "owls"'
                )
                continue
            self.fields(category, value, path)
            name = value.get("name")
            if isinstance(name, str) and names.setdefault(name, place) != place:
                self.add(
                    (*path, "name"),
                    "two categories have one name",
                    name,
                    "give each category a name of its own",
                )


def _like(rule: Rule | None) -> str:
    if rule is None:
        return f"see {GUIDE}"
    return f"write it like {rule.example}" if " = " in rule.example else rule.example


_KEY: Final = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_TABLE: Final = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")


def lines_of(text: str) -> dict[Path, int]:
    """On which line each key of a TOML document stands. The document is one that a TOML reader has taken."""
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    inside = _Inside()
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            if head := _TABLE.match(line):
                name: Path = tuple(_names(head[2]))
                if head[1] == "[[":
                    counts[name] = counts.get(name, -1) + 1
                    name = (*name, counts[name])
                table = name
                found.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                found.setdefault((*table, *_names(key[1])), number)
                line = line[key.end() :]
        inside.read(line)
    return found


def _names(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]


class _Inside:
    """Whether the next line goes on with a value: a text over several lines, or an array."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0

    def __bool__(self) -> bool:
        return bool(self._quote) or self._depth > 0

    def read(self, line: str) -> None:
        place = 0
        while place < len(line):
            if self._quote:
                if self._quote[0] == '"' and line[place] == "\\":
                    place += 2
                elif line.startswith(self._quote, place):
                    place += len(self._quote)
                    self._quote = ""
                else:
                    place += 1
                continue
            letter = line[place]
            if letter == "#":
                return
            if letter in "\"'":
                self._quote = letter * 3 if line.startswith(letter * 3, place) else letter
                place += len(self._quote)
                continue
            self._depth += (letter in "[{") - (letter in "]}")
            place += 1
        if len(self._quote) == 1:
            self._quote = ""
