"""Who has connected and was not accepted yet when the port closes is answered."""

import asyncio
import socket
import sys

import pytest

from service.closing import accept_the_last, begin_nothing_new


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())
        self.transport.close()


def test_connections_that_wait_are_taken_over_and_the_port_is_closed() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    clients = [socket.create_connection(address, timeout=30) for _ in range(3)]
    for client in clients[:2]:
        client.sendall(b"asked")
    clients[2].close()

    async def close() -> list[bytes]:
        await accept_the_last([listener], Echo)
        return [await asyncio.to_thread(client.recv, 100) for client in clients[:2]]

    answers = asyncio.run(close())
    with socket.socket() as late:
        refused = late.connect_ex(address)
    for client in clients:
        client.close()

    assert answers == [b"ASKED", b"ASKED"]
    assert refused != 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters what begins a connection")
def test_no_connection_begins_once_the_kernel_was_told_so_and_those_there_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=30) as client, socket.socket() as late:
            begin_nothing_new(listener)
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.connect(address)
            client.sendall(b"asked")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(100) == b"asked"
                accepted.sendall(b"told")
            assert client.recv(100) == b"told"
