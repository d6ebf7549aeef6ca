"""The version of the installed package."""

from importlib import metadata


def version() -> str:
    return metadata.version("omnitensor")
