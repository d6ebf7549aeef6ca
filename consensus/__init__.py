"""DualProof, pure: no clock, no randomness, no files, no sockets, no asyncio. Time and chance arrive as data."""
