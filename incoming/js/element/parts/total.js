// All files together: how far they are, and what the user may do with all of them. Shown from the second file on.

import { ProgressRow } from "./progress_row.js";
import { total_parts } from "../texts/row_text.js";

export class Total extends ProgressRow {
    constructor() {
        super();
        this.row.part.add("total");
        this.add_buttons({
            retry: () => this.queue?.retry_failed(),
            resume: () => this.queue?.resume(),
            pause: () => this.queue?.pause(),
            cancel: () => this.queue?.cancel(),
            clear: () => this.queue?.clear(),
        });
    }

    update() {
        const [all, texts] = [this.queue?.snapshot(), this.texts];
        this.row.hidden = !all || all.files_total < 2;
        if (!all || !texts) return;
        const some = (/** @type {(one: import("../../incoming.js").Uploader) => boolean} */ is) => all.uploads.some(is);
        const paused = some((one) => one.paused);
        const running = !all.paused && some((one) => one.can_pause || one.state === "idle");
        const buttons = {
            retry: all.files_failed > 0 && "retry",
            resume: !running && (all.paused || paused) && "resume",
            pause: running && "pause",
            cancel: (paused || some((one) => one.can_cancel && !one.failed)) && "cancel",
            clear: all.files_active === 0 && "clear",
        };
        this.show(texts.text("all_files"), all.frac_complete, total_parts(all, texts), buttons, all.files_active > 0);
    }
}
