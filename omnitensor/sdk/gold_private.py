"""Gold of a private campaign: each file is bound as one account's key encrypts it, so who hands it in is chosen beforehand.

What an item of a private campaign is follows from the plain file and the key that signs for whoever hands it in, and is the same
whenever it is made. So a sponsor can bind itself to the encrypted bytes before they are handed in. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from secrets import SystemRandom

import msgspec

from omnitensor.sdk.bundles import BundleItem
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import CampaignStateError, FileError, InputError
from omnitensor.sdk.gold_book import GoldBook, Piece
from omnitensor.sdk.results import Campaign
from omnitensor.sdk.sealing import sealed_item
from omnitensor.sdk.wallet import Wallet


def check_accounts(sponsor: str, by: Sequence[Wallet]) -> None:
    """Who hands in is not the sponsor: everybody would know its files for gold. Raises InputError."""
    if any(wallet.text == sponsor for wallet in by):
        raise InputError(
            "gold handed in by its sponsor is known for gold",
            value=sponsor,
            remedy="hand it in from another account that has money for bonds and fees",
        )


def sealed_pieces(
    campaign: Campaign, pieces: Sequence[Piece], by: Sequence[Wallet], chain_id: str
) -> list[Piece]:
    """Plain files' answers as those of private items, each of an account drawn from `by`. Reads every file once.

    Raises CampaignStateError where no account is named, FileError where a file changed since it was checked.
    """
    if not by:
        raise CampaignStateError(
            "in a private campaign gold is what the account that hands it in encrypts, and no such account is named",
            value=campaign.campaign,
            remedy="name accounts that hand it in: gold run or gold commit with --hand-in-home FOLDER, or by=[Wallet] in the SDK",
        )
    chance = SystemRandom()
    return [_sealed(campaign, piece, chance.choice(by), chain_id) for piece in pieces]


def _sealed(campaign: Campaign, piece: Piece, wallet: Wallet, chain_id: str) -> Piece:
    path = Path(piece.name)
    content = file_content(path)
    if content.chunk_root.hex() != piece.chunk_root:
        raise FileError(
            "the file changed while it was read", value=path, remedy="leave it alone and try again"
        )
    # Neither media type, nor tier, nor category says anything in what is encrypted.
    item = BundleItem(piece.name, content.sha256.hex(), content.size, piece.chunk_root, "", 0, 0)
    sealed = sealed_item(item, campaign, wallet, chain_id)
    return msgspec.structs.replace(
        piece, chunk_root=sealed.chunk_root, plain=piece.chunk_root, signer=wallet.public.hex()
    )


def is_by(book: GoldBook, by: Sequence[Wallet]) -> bool:
    """Whether each private piece of a book is one that these wallets can hand in."""
    return {piece.signer for piece in book.pieces if piece.signer} <= {wallet.public.hex() for wallet in by}
