// What sends the files of a page: the entry of a module of its own, which page/transfer_loader.js loads. Whatever an upload
// may need while its line is bad is in here, so that it is there together.

import { FileCheck } from "../file/file_check.js";
import { Servers } from "./servers.js";
import { Session } from "./session.js";

/** Identifies the sources of this module, which must be those of the library that loads it; "" for the sources themselves. */
export const BUILD = typeof __BUILD__ === "undefined" ? "" : __BUILD__;

export class Transfer {
    /** @param {import("../page/page_context.js").PageContext} page */
    constructor(page) {
        this.servers = new Servers(page);
    }

    /**
     * @param {{readonly ticket: string}} upload whose ticket is known from its start on
     * @param {File} file
     * @param {import("../file/shown_file.js").ShownFile} shown
     * @param {() => number} max_rate bytes a second, 0 for none
     * @param {import("./session.js").Owner} owner
     */
    session(upload, file, shown, max_rate, owner) {
        const check = new FileCheck(this.servers.page.env, file, shown);
        return new Session(this.servers, upload, file, check, max_rate, owner);
    }
}
