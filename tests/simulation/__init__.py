"""A deterministic network in one process: the real core under virtual time and seeded faults."""
