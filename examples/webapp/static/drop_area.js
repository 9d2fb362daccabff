/** Files that are dropped on a page. Decides where they may be dropped, and finds the files in dropped folders. */

/** Calls `on_drop` with the DataTransfer of what is dropped on `area`.
 *
 * Dropped anywhere else on the page, a file does nothing. Without this the browser would leave the page to show it.
 */
export function accept_drops(area, on_drop) {
    const has_files = (event) => event.dataTransfer !== null && event.dataTransfer.types.includes("Files");

    window.addEventListener("dragover", (event) => {
        if (!has_files(event)) return;
        event.preventDefault();
        const over_area = area.contains(event.target);
        area.classList.toggle("drag_over", over_area);
        event.dataTransfer.dropEffect = over_area ? "copy" : "none";
    });
    window.addEventListener("dragleave", (event) => {
        if (event.relatedTarget === null) area.classList.remove("drag_over"); // has left the window
    });
    window.addEventListener("drop", (event) => {
        area.classList.remove("drag_over");
        if (!has_files(event)) return;
        event.preventDefault();
        if (area.contains(event.target)) on_drop(event.dataTransfer);
    });
}

export function has_folders(data_transfer) {
    return Array.from(data_transfer.items).some((item) => item.webkitGetAsEntry?.()?.isDirectory);
}

/** Resolves to {files, problems}: the dropped files, those in folders included, and in words what could not be read.
 *
 * Call it in the event itself: afterwards the browser has emptied `data_transfer`.
 */
export async function dropped_files(data_transfer) {
    const dropped = Array.from(data_transfer.items)
        .filter((item) => item.kind === "file")
        .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
    const found = { files: [], problems: [] };
    for (const item of dropped) {
        if (item instanceof File) found.files.push(item);
        else if (item !== null) await read_entry(item, found);
    }
    return found;
}

async function read_entry(entry, found) {
    try {
        if (entry.isDirectory) await read_folder(entry, found);
        else found.files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    } catch (error) {
        found.problems.push(`“${entry.name}” cannot be read: ${error.message}`);
    }
}

async function read_folder(folder, found) {
    const reader = folder.createReader();
    for (let number = 0; ; ) {
        // Chromium gives a hundred at a time; an empty list is the end.
        const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        number += entries.length;
        if (number === 0) found.problems.push(`The folder “${folder.name}” is empty.`);
        if (entries.length === 0) return;
        for (const entry of entries) await read_entry(entry, found);
    }
}
