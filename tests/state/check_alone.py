"""A process that has headers and proofs and nothing else: checks them, then changes every byte of each, one at a time.

Run by ``test_proofs.py`` with a JSON object on standard input. Imports the light client and the protocol only; says on its output
what it did, and which changes were taken for true.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from omnitensor import light
from omnitensor.protocol.blocks import Event, Header, Receipt
from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import Epoch, Hash
from omnitensor.protocol.votes import FinalityProof, ValidatorEntry, ValidatorTable

Check = Callable[[Header, list[bytes]], object]
BITS = (0x01, 0x80, 0xFF)


def main() -> None:
    given = json.load(sys.stdin)
    table = ValidatorTable(Epoch(0), decode(tuple[ValidatorEntry, ...], bytes.fromhex(given["table"])))

    def final(_: Header, parts: list[bytes]) -> object:
        return light.check_finality(decode(Header, parts[0]), decode(FinalityProof, parts[1]), table)

    checks: dict[str, Check] = {
        "present": lambda header, parts: light.check_row(
            header, parts[0], parts[1], decode(StateProof, parts[2])
        ),
        "transaction": lambda header, parts: light.check_transaction(
            header, parts[0], decode(Inclusion, parts[1])
        ),
        "receipt": lambda header, parts: light.check_receipt(
            header, decode(Receipt, parts[0]), decode(Inclusion, parts[1])
        ),
        "events": lambda header, parts: light.check_events(
            header, decode(tuple[Event, ...], parts[0]), decode(Inclusion, parts[1])
        ),
        "final": final,
    }
    tried, taken = 0, []
    for number, one in enumerate(given["proofs"]):
        header = decode(Header, bytes.fromhex(one["header"]))
        parts, check = [bytes.fromhex(part) for part in one["parts"]], checks.get(one["kind"])
        if check is None:
            check = _of_asked(one["kind"], bytes.fromhex(one["asked"]))
        check(header, parts)
        for place, part in enumerate(parts):
            for at in range(len(part)):
                for bits in BITS[: one["patterns"]]:
                    changed = part[:at] + bytes([part[at] ^ bits]) + part[at + 1 :]
                    tried += 1
                    if _holds(check, header, [*parts[:place], changed, *parts[place + 1 :]]):
                        taken.append([number, one["kind"], place, at, bits])
            for cut in (part[:-1], part + b"\x00", b""):
                tried += 1
                if cut != part and _holds(check, header, [*parts[:place], cut, *parts[place + 1 :]]):
                    taken.append([number, one["kind"], place, "cut", len(cut)])
    rooms = {name.partition(".")[0] for name in sys.modules}
    json.dump(
        {"tried": tried, "taken": taken, "rooms": sorted(rooms), "modules": sorted(sys.modules)}, sys.stdout
    )


def _of_asked(kind: str, asked: bytes) -> Check:
    """Checks whose question is the verifier's own, and no part of the answer."""
    if kind == "absent":
        return lambda header, parts: light.check_row(header, asked, None, decode(StateProof, parts[0]))
    height = int.from_bytes(asked, "big")
    return lambda header, parts: light.check_ancestor(
        header, height, Hash(parts[0]), decode(Inclusion, parts[1])
    )


def _holds(check: Check, header: Header, parts: list[bytes]) -> bool:
    try:
        check(header, parts)
    except ProtocolError:
        return False
    return True


if __name__ == "__main__":
    main()
