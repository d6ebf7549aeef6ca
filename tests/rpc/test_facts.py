"""item.facts over a real socket: what the bytes of items are, beside what was declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignOpen, ItemDeclaration, SubmissionCommit, SubmissionReveal
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash
from tests.media.samples import picture, wav
from tests.rpc.test_methods import CONTRIBUTOR, PARAMS, SPEC, SPONSOR
from tests.rpc.world import Client, TestBackend, store_content
from tests.state.chain_fixtures import CHAIN_ID, make_genesis

CONTENTS = {
    "image/png": picture(),
    "audio/wav": wav(),
    "image/jpeg": b"no picture, but words",
    "text/plain": b"gone",
}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made
    made.close()


async def test_facts_of_items(client: Client, backend: TestBackend) -> None:
    spec = replace(SPEC, media=("image/*", "audio/*", "text/*"))
    items = tuple(ItemDeclaration(content_id_of(data), kind, 0, 0) for kind, data in CONTENTS.items())
    salt = Hash(bytes(32))
    commitment = submission_commitment(CHAIN_ID, CampaignId(1), items_root(items), CONTRIBUTOR.address, salt)
    backend.commit((SPONSOR, CampaignOpen(spec, Amount(100 * NANO))))
    backend.commit((CONTRIBUTOR, SubmissionCommit(CampaignId(1), commitment, len(items))))
    backend.commit((CONTRIBUTOR, SubmissionReveal(CampaignId(1), commitment, salt, items)))
    for data in list(CONTENTS.values())[:-1]:
        store_content(backend.content, data, b"")

    image, sound, lie, gone = [await client.call("item.facts", item=item) for item in (1, 2, 3, 4)]
    assert (image["declared"], image["known"], image["agrees"]) == ("image/png", True, True)
    assert (image["facts"]["width"], image["facts"]["height"]) == (40, 30)
    assert (sound["agrees"], sound["facts"]["duration_ms"], sound["facts"]["codec"]) == (
        True,
        1_000,
        "pcm_s16le",
    )
    assert (lie["declared"], lie["agrees"], lie["facts"]["media_type"]) == ("image/jpeg", False, "text/plain")
    assert (gone["known"], gone["agrees"], gone["facts"]) == (False, None, None)
    assert await client.fault("item.facts", {"item": 9}) == (-32001, "not_found")
