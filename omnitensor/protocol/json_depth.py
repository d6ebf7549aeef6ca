"""Whether a JSON document nests too deep, told without parsing it. Knows nothing of what it says.

Parsers recurse, and how deep that may go depends on the process around them: a stranger's document is measured first.
"""

import re
from typing import Final

_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string, closed or not (so that no place is looked at twice), or a bracket."""


def is_deep(text: str | bytes, levels_max: int) -> bool:
    """Whether more brackets than that are open at once; those within strings don't count. Takes time linear in the text."""
    body = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if body.count(b"[") + body.count(b"{") <= levels_max:
        return False
    depth = 0
    for match in _BRACKETS.finditer(body):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > levels_max:
                return True
        elif token in (b"]", b"}"):
            depth -= 1
    return False
