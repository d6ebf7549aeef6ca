"""Waiting on a net: a node that does not answer yet is asked again, and no port is handed out twice."""

from __future__ import annotations

import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from typing import Any

import pytest

from deploy.devnet import calls
from deploy.devnet.ports import free_ports
from deploy.devnet.process import DevnetError


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_who_does_not_answer_yet_is_asked_again() -> None:
    (port,) = free_ports(1)
    endpoint, servers = f"http://127.0.0.1:{port}", list[HTTPServer]()

    def listen() -> None:
        if not servers:
            servers.append(HTTPServer(("127.0.0.1", port), Quiet))
            threading.Thread(target=servers[0].serve_forever, daemon=True).start()

    try:
        assert calls.until("it answers", lambda: calls.get(endpoint, "/")[0] == 200, 60, on_wait=listen)
        assert servers, "nobody answered at first"
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def test_who_never_answers_is_given_up_with_the_reason() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DevnetError, match="it answers") as caught:
        calls.until("it answers", lambda: calls.get(f"http://127.0.0.1:{port}", "/"), 0.2)
    assert str(port) in str(caught.value)


def test_a_port_is_handed_out_once() -> None:
    """Whoever was given one may not listen yet, or may be down for a while."""
    ports = [port for _ in range(3) for port in free_ports(4)]
    assert len(set(ports)) == len(ports)
