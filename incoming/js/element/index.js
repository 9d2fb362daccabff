// The module incoming-uploader.mjs: defines <incoming-uploader> and the parts that it is made of.

import { Announcements } from "./parts/announcements.js";
import { DropArea } from "./parts/drop_area.js";
import { IncomingUploader } from "./incoming_uploader.js";
import { Total } from "./parts/total.js";
import { UnfinishedList } from "./parts/unfinished_list.js";
import { UploadList } from "./parts/upload_list.js";
import { UploadRow } from "./parts/upload_row.js";

export { LANGUAGES, add_language } from "./texts/languages.js";

/** @type {Record<string, CustomElementConstructor>} the parts before what is made of them */
const ELEMENTS = {
    "incoming-announcements": Announcements,
    "incoming-drop-area": DropArea,
    "incoming-row": UploadRow,
    "incoming-list": UploadList,
    "incoming-total": Total,
    "incoming-unfinished": UnfinishedList,
    "incoming-uploader": IncomingUploader,
};

// Evaluated twice in a page, or on a server that renders one, it does no harm.
for (const [name, definition] of Object.entries(ELEMENTS)) {
    if (globalThis.customElements && !customElements.get(name)) customElements.define(name, definition);
}
