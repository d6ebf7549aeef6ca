"""The OpenRPC document, and the specification's list of methods, made from the table of methods. Knows no method.

Run as a module it writes ``docs/openrpc.json`` and the list in ``docs/specification/rpc.md`` anew.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from rpc.errors import ERRORS
from rpc.jsonrpc import MESSAGES, ErrorData
from rpc.table import Method, MethodTable

OPENRPC_VERSION: Final = "1.3.2"
TITLE: Final = "OmniTensor node"
VERSION: Final = "1"
"""Of the interface: it changes when a method or field goes away or changes its meaning."""
LIST_BEGIN: Final = "<!-- methods: made from the table, see rpc/openrpc.py -->"
LIST_END: Final = "<!-- end of methods -->"


@lru_cache(maxsize=4)
def document(table: MethodTable) -> dict[str, Any]:
    """The document as plain values."""
    methods = list(table)
    kinds = [kind for method in methods for kind in (method.params, method.result)]
    schemas, components = msgspec.json.schema_components(
        [*kinds, ErrorData], ref_template="#/components/schemas/{name}"
    )
    results = dict(zip([method.name for method in methods], schemas[1:-1:2], strict=True))
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": TITLE,
            "version": VERSION,
            "description": "JSON-RPC 2.0 over HTTP (POST /) and WebSocket (/ws).",
        },
        "methods": [_method(method, results[method.name], components) for method in methods],
        "components": {"schemas": dict(sorted(components.items())), "errors": _errors()},
    }


def _method(method: Method, result: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    schema = components[method.params.__name__]
    required = set(schema.get("required", ()))
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": [
            {"name": name, "required": name in required, "schema": shape}
            for name, shape in schema["properties"].items()
        ],
        "result": {"name": "result", "schema": result},
        "x-websocket-only": method.needs_socket,
    }


def _errors() -> dict[str, Any]:
    standard = {str(number): {"code": number, "message": text} for number, text in MESSAGES.items()}
    own = {
        str(number): {"code": number, "message": message, "data": meaning}
        for number, (message, meaning) in ERRORS.items()
    }
    return {**standard, **own}


def document_text(table: MethodTable) -> str:
    """The document as the file holds it."""
    return json.dumps(document(table), indent=1, ensure_ascii=False) + "\n"


def method_list(table: MethodTable) -> str:
    """The methods as Markdown: name, parameters with their defaults, and what it does."""
    lines = ["| method | parameters | does |", "| --- | --- | --- |"]
    for method in table:
        lines.append(f"| `{method.name}` | {_signature(method)} | {method.summary} |")
    lines += ["", "| error | message | means |", "| --- | --- | --- |"]
    lines += [f"| {number} | {message} | {meaning} |" for number, (message, meaning) in ERRORS.items()]
    return "\n".join(lines)


def _signature(method: Method) -> str:
    shown = []
    for field in msgspec.structs.fields(method.params):
        default = field.default
        if default is msgspec.NODEFAULT:
            shown.append(f"`{field.name}`")
        elif default is None or not isinstance(default, int | str):
            shown.append(f"`{field.name}?`")
        else:
            shown.append(f"`{field.name}={json.dumps(default)}`")
    return ", ".join(shown)


def with_list(text: str, table: MethodTable) -> str:
    """The specification's text with its list of methods made anew."""
    pattern = re.compile(re.escape(LIST_BEGIN) + ".*?" + re.escape(LIST_END), re.DOTALL)
    fresh = f"{LIST_BEGIN}\n\n{method_list(table)}\n\n{LIST_END}"
    assert pattern.search(text), "the specification has a place for the list"
    return pattern.sub(lambda _: fresh, text)


def write(docs: Path, table: MethodTable) -> None:
    """Writes both files anew."""
    (docs / "openrpc.json").write_text(document_text(table), encoding="utf-8")
    specification = docs / "specification" / "rpc.md"
    specification.write_text(with_list(specification.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    from rpc.methods import TABLE

    write(Path(__file__).resolve().parents[1] / "docs", TABLE)
