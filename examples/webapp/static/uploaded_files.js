/** The app's list of uploaded files, in the elements that example 2's pages have for it. */

import { FileList } from "./file_list.js";
import { name_node } from "./file_names.js";

const LOOK_AGAIN_AFTER = 3000; // milliseconds

/** Returns a function that gets the list from the app and shows it. `neighbour` gets the focus when the item that had it is
 * gone and no other is left. */
export function uploaded_files(neighbour) {
    const element = (id) => document.getElementById(id);
    let next_look = null; // the timer of another try

    const list = new FileList(element("uploaded_files_list"), neighbour, ({ name, size, url }) => {
        const link = document.createElement("a");
        link.href = url;
        link.download = "";
        link.append(name_node(name));
        const numbers = document.createElement("span");
        numbers.className = "numbers";
        numbers.textContent = size;
        return [link, numbers];
    });

    return async function show_uploaded_files() {
        clearTimeout(next_look);
        let uploads;
        try {
            ({ uploads } = await (await fetch("api/frontend/uploads")).json());
        } catch { // no answer, or somebody else's
            element("uploaded_files_error").textContent = "This app does not answer. Until it does, files may be missing here.";
            next_look = setTimeout(show_uploaded_files, LOOK_AGAIN_AFTER);
            return;
        }
        element("uploaded_files_error").textContent = "";
        element("no_uploaded_files").hidden = uploads.length > 0;
        list.show(uploads.map((file) => ({ key: file.url, version: file.size, ...file })));
    };
}
