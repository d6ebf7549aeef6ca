"""Ground floor: types, canonical bytes, hashes, proofs, keys, votes, blocks, transactions, limits, errors.

Imports no other room.
"""
