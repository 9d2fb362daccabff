// Finds the files in what was dropped or pasted, those in folders included, each with its path. The page
// decides what is done with them.

/** @typedef {import("../incoming.js").ChosenFile} ChosenFile */
/** @typedef {{files: ChosenFile[], problems: {path: string, error: unknown}[]}} Found */

/**
 * Call it in the event itself: afterwards the browser has emptied `data_transfer`.
 * @param {DataTransfer} data_transfer
 * @returns {Promise<Found>} the files, and what could not be read
 */
export async function files_of(data_transfer) {
    const dropped = [...data_transfer.items].filter((item) => item.kind === "file").map(opened);
    /** @type {Found} */
    const found = { files: [], problems: [] };
    for (const { entry, file, handle } of dropped) {
        if (entry?.isDirectory) await read_entry(entry, found);
        else if (file) found.files.push({ file, path: file.name, handle: await handle });
    }
    return found;
}

/** @param {any} item */
function opened(item) {
    // Only Chromium has handles, by which an upload can be resumed after a reload.
    const handle = item.getAsFileSystemHandle?.().catch(() => null) ?? null;
    return { entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile(), handle };
}

/**
 * @param {any} entry a FileSystemEntry
 * @param {Found} found
 */
async function read_entry(entry, found) {
    const path = entry.fullPath.replace(/^\//, "");
    try {
        if (entry.isDirectory) await read_folder(entry, found);
        else found.files.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    } catch (error) {
        found.problems.push({ path, error });
    }
}

/**
 * @param {any} folder
 * @param {Found} found
 */
async function read_folder(folder, found) {
    const reader = folder.createReader();
    for (;;) {
        // Chromium gives a hundred at a time; an empty list is the end.
        const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (entries.length === 0) return;
        for (const entry of entries) await read_entry(entry, found);
    }
}
