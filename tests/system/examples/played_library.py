"""A page in Chromium with the fake library in it, whose part the test plays."""

from pathlib import Path
from typing import Any

from playwright.sync_api import FilePayload, Page

from tests.support.waiting import wait_until


def a_file(name: str = "file.txt", content: bytes = b"content") -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def wait_for_uploaders(page: Page, count: int) -> None:
    wait_until(lambda: page.evaluate("window.uploaders.length") >= count, f"{count} uploaders")


def play(page: Page, number: int, **properties: Any) -> None:
    """Change properties of an uploader, as the library would."""
    page.evaluate("([number, properties]) => window.uploaders[number].set(properties)", [number, properties])


def calls_of(page: Page, number: int) -> list[list[str]]:
    calls: list[list[str]] = page.evaluate("(number) => window.uploaders[number].calls", number)
    return calls


def ticket_of(page: Page, number: int) -> str:
    ticket: str = page.evaluate("(number) => window.uploaders[number].upload_id", number)
    return ticket


def drop(page: Page, selector: str, *names: str) -> bool:
    """Drop files on an element; returns whether the page took care of it, so that the browser will not."""
    taken: bool = page.evaluate(
        """([selector, names]) => {
            const data = new DataTransfer();
            for (const name of names) data.items.add(new File(["content"], name));
            const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            return !document.querySelector(selector).dispatchEvent(event);
        }""",
        [selector, list(names)],
    )
    return taken


def drag_over(page: Page, selector: str) -> str:
    """Drag a file over an element; returns the drop area's classes."""
    classes: str = page.evaluate(
        """(selector) => {
            const data = new DataTransfer();
            data.items.add(new File(["content"], "file.txt"));
            document.querySelector(selector).dispatchEvent(
                new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
            return document.getElementById("drop_area").className;
        }""",
        selector,
    )
    return classes


def drag_from_disk(page: Page, selector: str, *paths: Path) -> None:
    """Drop files or folders of the disk on an element, as a user does."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    dragged = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": dragged})
