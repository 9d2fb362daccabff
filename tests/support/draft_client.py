"""A client of the IETF's resumable uploads, of any interop version, that sends exactly what a test wants."""

from dataclasses import dataclass

from tests.support.one_worker import OneWorker
from tests.support.raw_http import Answer, RawConnection, chunked, request


@dataclass(frozen=True)
class DraftClient:
    """`version` is the interop version that it names; None for none. Each request has a connection of its own."""

    worker: OneWorker
    ticket: str
    version: int | None = None

    @property
    def path(self) -> str:
        return f"/incoming/0.1/frontend/upload/{self.ticket}"

    @property
    def is_old(self) -> bool:
        """Whether it is of version 3 to 6."""
        return self.version is not None and self.version <= 6

    def complete(self, value: bool) -> str:
        """The header line that says whether the body ends the file."""
        name = "Upload-Incomplete" if self.version == 3 else "Upload-Complete"
        return f"{name}: ?{int(value != (self.version == 3))}"

    def parse_complete(self, answer: Answer) -> bool | None:
        """What an answer says of that; None if it says nothing."""
        value = answer.headers.get("upload-incomplete" if self.version == 3 else "upload-complete")
        return None if value is None else (value == "?1") != (self.version == 3)

    def message(
        self,
        method: str,
        *headers: str,
        complete: bool | None = None,
        offset: int | None = None,
        body: bytes = b"",
        parts: tuple[bytes, ...] | None = None,
        length: int | None = None,
    ) -> bytes:
        """A request; with `parts` its body is chunked, with `length` it announces another length than it has."""
        lines = [] if self.version is None else [f"Upload-Draft-Interop-Version: {self.version}"]
        if complete is not None:
            lines.append(self.complete(complete))
        if offset is not None:
            lines.append(f"Upload-Offset: {offset}")
        if method == "PATCH" and not any(line.lower().startswith("content-type") for line in headers):
            lines.append("Content-Type: application/partial-upload")
        lines += headers
        if parts is not None:
            return request(method, self.path, *lines, "Transfer-Encoding: chunked", length=-1) + chunked(*parts)
        return request(method, self.path, *lines, body=body, length=length)

    async def ask(self, method: str, *headers: str, **more: object) -> Answer:
        """The answer to such a request; interim ones are left out."""
        connection = await RawConnection.open(self.worker.port)
        try:
            await connection.send(self.message(method, *headers, **more))  # type: ignore[arg-type]
            return await (connection.head() if method == "HEAD" else connection.answer())
        finally:
            connection.close()

    async def offset(self) -> int:
        """The offset that a HEAD tells."""
        answer = await self.ask("HEAD")
        assert answer.status == 204, answer
        return int(answer.headers["upload-offset"])
