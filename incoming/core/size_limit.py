"""How large a file may be: the server's limit and the ticket's, the smaller of which counts."""

from __future__ import annotations

from incoming.core.errors import FileTooLarge


def check_size(size: int, *limits: int, at_least: bool = False) -> None:
    """Raise FileTooLarge when a file of `size` bytes is above a limit; 0 is no limit.

    `at_least`: the file has so many bytes or more, because its length is not known.
    """
    limit = min((limit for limit in limits if limit), default=size)
    if size > limit:
        raise FileTooLarge(f"the file has {'at least ' if at_least else ''}{size} bytes, the limit is {limit}")
