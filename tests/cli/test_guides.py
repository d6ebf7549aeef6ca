"""The guides for contributors, validators and sponsors say what is so: every command, option, field and snippet in them works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from omnitensor.cli.main import cli
from omnitensor.sdk import specs
from omnitensor.sdk.specs import CampaignDraft, draft_from_toml

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
NAMES = ("contributor", "validator", "sponsor", "wallet", "accounts", "models")
TEXTS = {name: (GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}


def commands(text: str) -> list[list[str]]:
    """Every command line in a guide, in blocks and in running text."""
    blocks = [line.split("#")[0] for line in text.splitlines() if line.startswith("otensor-cli ")]
    inline = re.findall(r"`(otensor-cli [^`]+)`", text)
    return [shlex.split(re.sub(r"<[^>]*>", "x", line))[1:] for line in (*blocks, *inline)]


def check_command(words: list[str]) -> None:
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    known = {option for param in command.params for option in param.opts}
    for word in words:
        assert not word.startswith("--") or word in known, (command.name, word)


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name: str) -> None:
    found = commands(TEXTS[name])
    assert len(found) >= 3
    for words in found:
        check_command(words)


def test_options_named_alone_exist() -> None:
    every = {
        option for command in (cli, *_all_commands(cli)) for param in command.params for option in param.opts
    }
    every.add("--help")
    for text in TEXTS.values():
        for option in re.findall(r"`(--[a-z-]+)", text):
            assert option in every, option


def _all_commands(group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for command in group.commands.values():
        found += [command, *(_all_commands(command) if isinstance(command, click.Group) else [])]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_snippets_compile(name: str) -> None:
    snippets = re.findall(r"```python\n(.*?)```", TEXTS[name], re.DOTALL)
    assert snippets
    for snippet in snippets:
        compile(snippet, name, "exec")


def test_campaign_file_opens(tmp_path: Path) -> None:
    (sample,) = re.findall(r"```toml\n(.*?)```", TEXTS["sponsor"], re.DOTALL)
    path = tmp_path / "campaign.toml"
    path.write_text(sample, encoding="utf-8")
    spec = draft_from_toml(path).spec(0)
    assert spec.first_seats == specs.PRESETS["standard"][0]
    assert spec.categories[0].target == 200


def test_every_field_is_in_the_table() -> None:
    table = "\n".join(line for line in TEXTS["sponsor"].splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z_]+)`", table))
    assert set(CampaignDraft.__struct_fields__) <= named
