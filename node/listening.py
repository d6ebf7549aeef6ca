"""Where a node listens, as peers' host and RPC server are told it, from its configuration."""

from node.config import Config
from omnitensor.protocol.errors import ProtocolError
from p2p.config import HostConfig, parse_seed
from rpc.server import RpcConfig


class ListenError(ProtocolError):
    """An address that the node is to serve on and can't."""

    code = "listen"


def host_config(config: Config) -> HostConfig:
    """For the network of peers."""
    return HostConfig(
        listen=(config.p2p_listen.host, config.p2p_listen.port),
        persistent=tuple(parse_seed(text) for text in config.p2p_bootstrap),
        node_name=config.node_name,
        address_book=config.home / "peers.json",
        peers_inbound_max=config.p2p_peers_max,
        peers_per_subnet_max=config.p2p_peers_per_address_max,
    )


def rpc_config(config: Config) -> RpcConfig:
    """For JSON-RPC."""
    listen = config.rpc_listen
    hosts, origins, calls = config.rpc_hosts, config.rpc_origins, config.rpc_calls_per_second
    return RpcConfig(listen.host, listen.port, hosts, origins, calls)
