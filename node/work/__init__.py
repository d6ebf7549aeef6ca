"""Proving work and judging it, in a node: engines that compute, a worker that earns by it, and the judge of others' receipts."""
