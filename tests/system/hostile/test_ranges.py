"""An upload of very many separate ranges is bounded, and does not slow down others."""

from incoming.uploads.active_upload import MAX_EXTENTS
from incoming.wire.messages import CHUNK_HEADER
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import BINARY, frame
from tests.system.hostile.wire import Socket, ask, new_ticket, request, status_of, upload_path


def test_separate_ranges_are_capped(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    socket = Socket(hostile_server.port, ticket)
    socket.hello(10 * MAX_EXTENTS)
    for start in range(0, 4 * MAX_EXTENTS, 2000):
        chunks = (frame(BINARY, CHUNK_HEADER.pack(1, offset) + b"x") for offset in range(start, start + 2000, 2))
        socket.send(b"".join(chunks))
    last, code = socket.closing()
    assert last is not None
    assert last["message"] == f"the upload would consist of more than {MAX_EXTENTS} separate ranges"
    assert code == 4102
    kept = status_of(hostile_server, ticket)
    assert 0 < len(kept["extents"]) <= MAX_EXTENTS
    other = new_ticket(hostile_server)
    assert ask(hostile_server, request(f"PUT {upload_path(other)}", body=b"x"))[0] == 200
