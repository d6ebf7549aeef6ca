"""Snapshots: the state at a boundary as one file of 256 chunks, each shown to be right by the boundary's header alone.

``manifest`` says what a snapshot is, ``chunks`` checks one of its parts, ``files`` reads a file, ``taking`` makes one from a
chain that goes on, ``loading`` makes a database of one. Whether a header is final is for whoever loads it (``node.trust``).
"""
