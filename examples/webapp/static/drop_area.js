/** Lets files be dropped on `area`; `on_files` gets an array of them.
 *
 * Dropped anywhere else on the page, a file does nothing. Without this the browser would leave the page to show it.
 */
export function accept_drops(area, on_files) {
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
        if (area.contains(event.target)) on_files(files_of(event.dataTransfer));
    });
}

/** The dropped files without the folders: a folder looks like a file here, but nothing can be read from it. */
function files_of(data_transfer) {
    return Array.from(data_transfer.items)
        .filter((item) => item.kind === "file" && !item.webkitGetAsEntry()?.isDirectory)
        .map((item) => item.getAsFile());
}
