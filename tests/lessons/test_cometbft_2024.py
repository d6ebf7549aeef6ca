"""CometBFT 2024: a panic on an invalid vote, a panic on a bad parameter change, a poisoned snapshot taken for state."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from node import trust
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.parameter_rules import ParameterError, check_params
from omnitensor.protocol.params import DEFAULTS, SPECS, Params
from omnitensor.protocol.state_proof import key_hash
from omnitensor.protocol.types import NANO, Amount, BlsSignature, Epoch, Hash, Height, View
from omnitensor.protocol.votes import SKIP_ID, Vote, VoteKind, vote_message
from p2p.messages import BlocksRequest, BlocksResponse, PeerId, Request
from p2p.ranges import assemble_blocks
from state.chain import Chain
from state.genesis import GenesisError
from state.records import Account
from state.schema import ACCOUNTS
from state.snapshots import taking
from state.snapshots.chunks import encode_chunk, read_chunk
from state.snapshots.files import SnapshotFile
from state.snapshots.manifest import SnapshotError, read_manifest, state_root
from tests.lessons.scene import Scene
from tests.node.node_kit import (
    account_key,
    height_of,
    is_peer,
    make_folders,
    node_at,
    stranger,
    transfer,
    until,
)
from tests.node.voters import Voters
from tests.state import chain_fixtures as chains
from tests.storage import chains as storage_chains

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SOME_ID = Hash(b"c" * 32)
FAR = 2**64 - 1


def truly_signed(scene: Scene, signer: int, kind: VoteKind, epoch: int, view: int, named: Hash) -> Vote:
    """A vote that makes no sense, with the signature that is its signer's over exactly this."""
    message = vote_message(scene.voters.genesis.chain_id, Epoch(epoch), kind, View(view), named)
    return Vote(kind, Epoch(epoch), View(view), named, signer, scene.voters.keys[signer].sign(message))


async def test_cometbft_2024_an_invalid_vote_halts_nobody(scene: Scene) -> None:
    """Each is signed by a validator's own key; the node refuses or ignores each, and goes on."""
    signer = scene.others[0]
    good = scene.voters.vote(signer, S, 1)
    odd = [
        truly_signed(scene, signer, S, 0, 1, SOME_ID),  # a SKIP that names a candidate
        truly_signed(scene, signer, N, 0, 1, SKIP_ID),  # others that name none
        truly_signed(scene, signer, F, 0, 1, SKIP_ID),
        truly_signed(scene, signer, S, 0, 0, SKIP_ID),  # view 0 is the root
        truly_signed(scene, signer, N, 0, FAR, SOME_ID),
        truly_signed(scene, signer, S, FAR, FAR, SKIP_ID),
        truly_signed(scene, signer, S, 1, 1, SKIP_ID),
        replace(good, signer=len(scene.voters.table)),  # nobody's index
        replace(good, signer=65_535),
        replace(good, signer=scene.others[1]),
        replace(good, signature=BlsSignature(b"\xc0" + bytes(95))),  # infinity
        replace(good, signature=BlsSignature(bytes(96))),  # no point at all
        replace(good, signature=BlsSignature(b"\xff" * 96)),
    ]
    genesis = scene.folders.genesis
    async with stranger(genesis, scene.node) as honest:
        for vote in odd:
            async with stranger(genesis, scene.node) as liar:
                before = scene.judged()
                liar.host.send(scene.id, vote)
                await until("it was judged", lambda n=before: scene.judged() > n)  # type: ignore[misc]  # bound now
            assert scene.halted is None
        assert not [heard for heard in honest.heard if isinstance(heard, Vote) and heard in odd]
        assert scene.node._evidence.held() == ()
        await scene.make_final(honest)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 0), (0, 4), (0, -1), (1, -1), (2, -1), (3, b"short"), (4, -1), (4, 2**16), (5, bytes(95))],
)
def test_cometbft_2024_bytes_that_are_no_vote_are_refused(place: int, value: object) -> None:
    """By the decoder alone, with a typed error: nothing behind it ever sees such a vote."""
    good = Vote(N, Epoch(0), View(1), SOME_ID, 0, BlsSignature(bytes(96)))
    assert decode(Vote, encode(good)) == good
    fields = msgspec.msgpack.decode(encode(good))
    fields[place] = value
    with pytest.raises(Exception, match="not a Vote") as refusal:
        decode(Vote, msgspec.msgpack.encode(fields))
    assert type(refusal.value).__name__ == "CodecError"


BOUNDS = {
    name: (spec.low, spec.high) for name, spec in SPECS.items() if isinstance(getattr(DEFAULTS, name), int)
}
SMALL = Params(epoch_blocks=2, evidence_epochs=2, unbonding_blocks=6)


def test_cometbft_2024_parameters_at_their_bounds_can_be_lived_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any one parameter at its least or most, a chain is refused as a whole or makes blocks to an epoch's end."""
    # The same four keys each time: their proofs of possession say the same of them.
    monkeypatch.setattr(bls, "pop_verify", cache(bls.pop_verify))
    monkeypatch.setattr(chains, "genesis_validator", cache(chains.genesis_validator))
    lived, refused = 0, []
    for number, (name, value) in enumerate((name, value) for name, pair in BOUNDS.items() for value in pair):
        params = replace(SMALL, **{name: value})
        try:
            genesis = chains.make_genesis(params=params)
        except ParameterError as refusal:
            refused.append(refusal)
            continue
        except GenesisError:  # four validators, or their stakes, are not what this chain allows
            assert name in ("validator_stake_min", "validators_max")
            continue
        chain = Chain.create(tmp_path / f"{number}", genesis)
        try:
            for height in range(1, 3):
                body = Transfer(chains.key("a1").address, Amount(1))
                block = chains.build(chain, [chains.order(chains.key("a0"), height - 1, body)])
                chain.commit(block.hash, None)
            lived += 1
        finally:
            chain.close()
            shutil.rmtree(tmp_path / f"{number}")
    assert lived > len(BOUNDS), "most bounds are values to live with"
    assert all(refusal.remedy for refusal in refused)


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_cometbft_2024_a_parameter_beyond_its_bounds_is_refused_by_name(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1):
        with pytest.raises(ParameterError, match=name):
            check_params(replace(Params(), **{name: value}))


# -- a poisoned snapshot: there are none here, and ranges of blocks are believed for nothing but their proof


async def test_cometbft_2024_what_a_liar_syncs_never_becomes_state(tmp_path: Path) -> None:
    """True headers under a true proof, with another payment in one block: the liar goes, the state is the true one."""
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    above = None
    for view in range(1, 6):
        block = voters.block(view, transactions=[transfer("alice", view - 1)])
        above = voters.candidate(view, block, above)
        voters.chain.commit(block.hash, voters.proof(above))

    def honest(_: PeerId, request: Request) -> BlocksResponse | None:
        assert isinstance(request, BlocksRequest)
        reader = voters.chain.reader()

        def header_at(height: int) -> Header | None:
            block = reader.block(Height(height))
            return None if block is None else block.header

        return assemble_blocks(
            request,
            lambda height: reader.encoded_block(Height(height)),
            header_at,
            lambda height: reader.proof(Height(height)),
        )

    def poisoned(peer: PeerId, request: Request) -> BlocksResponse | None:
        given = honest(peer, request)
        assert given is not None
        first, *rest = given.blocks
        payment = transfer("alice", 0, to="v1", amount=999 * NANO).transaction
        return BlocksResponse(
            (encode(Block(decode(Block, first).header, (payment,))), *rest), given.links, given.proof
        )

    node = node_at(folders.extra("follower"))
    await node.start()
    try:
        async with stranger(folders.genesis, node, height=5, answers={BlocksRequest: poisoned}) as liar:
            await until("the liar is gone", lambda: liar.asked and not is_peer(node, liar))
            assert height_of(node) == 0
            async with stranger(folders.genesis, node, height=5, answers={BlocksRequest: honest}):
                await until("all blocks are here", lambda: height_of(node) == 5)
        reader = node.application.reader()
        assert reader.head.header.state_root == voters.chain.head.header.state_root
        account = reader.get(ACCOUNTS, account_key("v1").address)
        assert account is not None
        assert account.balance == 1_000 * NANO
    finally:
        await node.stop()
        voters.close()


def test_cometbft_2024_a_poisoned_snapshot_makes_no_database(tmp_path: Path) -> None:
    """A balance is another in it, and every hash of the file's own fits; `tests/storage` has other poisons."""
    chain = storage_chains.grown(tmp_path, storage_chains.EPOCH_BLOCKS)
    honest = taking.take(chain.reader(), chain.genesis_hash, tmp_path / "snapshots")
    chain.close()
    genesis = storage_chains.genesis_of()
    with SnapshotFile(honest) as source:
        manifest = source.manifest
        index = key_hash(ACCOUNTS.full_key(chains.key("a0").address))[0]
        rows = [
            (key, encode(Account(Amount(10**15), 0)) if key[0] == ACCOUNTS.prefix else value)
            for key, value in read_chunk(index, manifest.chunks[index], source.chunk(index)).rows
        ]
        data, info = encode_chunk([(key_hash(key), (key, value)) for key, value in rows])
        infos = (*manifest.chunks[:index], info, *manifest.chunks[index + 1 :])
        with pytest.raises(SnapshotError, match="do not make the state root"):
            read_manifest(encode(replace(manifest, chunks=infos)))
        with pytest.raises(SnapshotError, match=r"another size|not those under"):
            read_chunk(index, manifest.chunks[index], data)
        header = replace(manifest.header, state_root=state_root(infos))
        candidate = replace(manifest.proof.candidate, block_hash=header.hash)
        forged = replace(
            manifest, chunks=infos, header=header, proof=replace(manifest.proof, candidate=candidate)
        )
        assert read_manifest(encode(forged)) == forged, "whole in itself"
        with pytest.raises(SnapshotError, match="not the one that its steps lead to"):
            trust.follow(forged, source.steps(), genesis, None, chains.START_MS)
        step = next(iter(source.steps()))
        with pytest.raises(SnapshotError, match="do not hold"):
            trust.follow(
                forged, [replace(step, header=header, proof=forged.proof)], genesis, None, chains.START_MS
            )
