"""Children, open files, threads and connections of a running process, from /proc."""

from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the workers of a supervisor; none when it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int) -> list[str]:
    """Return the open files. Raises ProcessLookupError when there is no such process."""
    found = []
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    for entry in entries:
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return found


def held(pid: int) -> tuple[int, int]:
    """Return the number of descriptors and threads."""
    return len(open_files(pid)), len(list(Path(f"/proc/{pid}/task").iterdir()))


def connected(port: int) -> bool:
    """Return whether a client is connected to this local port."""
    tables = (Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def at_rest(pid: int, port: int, storage_dir: Path) -> bool:
    """Return whether no client is connected and the process has no uploaded file open."""
    files = [target for target in open_files(pid) if target.startswith(f"{storage_dir}/")]
    return all("incoming.sqlite" in target for target in files) and not connected(port)
