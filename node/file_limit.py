"""How many files a node may have open, and how many it may need: sockets are files, and strangers open them.

With fewer, a crowd of clients would leave no file for the next table of the database, and the node would stop then. So the
soft limit is raised at start, and a hard limit that is too small refuses the start.
"""

import os
import resource
from dataclasses import dataclass
from typing import Final

import structlog

from node.config import Config
from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError

REMEDY: Final = (
    "let it open that many: LimitNOFILE={needed} in its systemd unit, --ulimit nofile={needed}:{needed} for a container,"
    " ulimit -Hn {needed} by root in a shell"
)

log = structlog.get_logger("node")


class FilesError(ProtocolError):
    """The system lets this process open fewer files than the node may need."""

    code = "files"


@dataclass(frozen=True, slots=True)
class FileLimit:
    """What the system grants to a process, None for as many as it likes, and what a node needs at the most."""

    soft: int | None
    hard: int | None
    needed: int

    @property
    def fits(self) -> bool:
        """Whether the soft limit is, or can be made, large enough."""
        return self.hard is None or self.hard >= self.needed

    @property
    def remedy(self) -> str:
        return REMEDY.format(needed=self.needed)


def files_needed(config: Config) -> int:
    """The most that a node with these settings has open at once."""
    peers = config.p2p_peers_max + len(config.p2p_bootstrap) + 2 * limits.peers_outbound_target
    strangers = limits.handshakes_in_flight_max + limits.rpc_connections_max
    downloads = limits.rpc_connections_max
    own = limits.database_files_max + limits.own_files_max
    if config.worker_key_file:
        own += limits.files_per_worker_process_max * (config.worker_processes or os.cpu_count() or 1)
    return peers + strangers + downloads + own


def look(config: Config) -> FileLimit:
    """The limits of this process."""
    soft, hard = (
        None if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return FileLimit(soft, hard, files_needed(config))


def provide(config: Config) -> None:
    """Raises the soft limit to what the node needs, where it is less. Raises FilesError where the hard limit is too small."""
    found = look(config)
    if found.soft is None or found.soft >= found.needed:
        return
    try:
        if not found.fits:
            raise ValueError
        hard = resource.RLIM_INFINITY if found.hard is None else found.hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (found.needed, hard))
    except (OSError, ValueError) as error:  # some systems have a lower limit than they say
        raise FilesError(
            "this process may open too few files for its peers, its clients and the database",
            value=f"{found.soft if found.fits else found.hard}, and {found.needed} may be needed",
            remedy=found.remedy,
        ) from error
    log.info("more files may be open", limit=found.needed, before=found.soft)
