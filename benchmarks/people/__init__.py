"""A simulator of people: contributors and reviewers of many minds through the real ledger, and what each of them earns.

Blocks are executed by the ledger's own rules on an overlay in memory; no consensus, no signatures, no network.
"""
