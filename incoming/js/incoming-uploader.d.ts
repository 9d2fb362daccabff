// The public interface of incoming-uploader.mjs; doc/pages.md describes each.
import type { ChosenFile, LanguagePack, Queue, TicketFunction, Uploader } from "./incoming.js";

/** The languages that have a pack at the server, as BCP 47. */
export const LANGUAGES: readonly string[];

/** A pack of the app's own, or one that it has bundled: used for its `language` from now on. */
export function add_language(pack: LanguagePack): void;

/** What all elements have in common. */
export interface IncomingPart extends HTMLElement {
    /** The queue whose uploads are shown. */
    queue: Queue | null;
}

/** <incoming-uploader>: everything, as one control of a form. */
export interface IncomingUploaderElement extends IncomingPart {
    /** Gets a ticket; by default by a POST to the URL of `ticket-url`. */
    get_ticket: TicketFunction;
    /** The tickets of the finished uploads. */
    readonly value: readonly string[];
    name: string;
    readonly form: HTMLFormElement | null;
    readonly validity: ValidityState;
    readonly validationMessage: string;
    checkValidity(): boolean;
    reportValidity(): boolean;
}

/** <incoming-drop-area>: where files are chosen and dropped. */
export interface IncomingDropAreaElement extends IncomingPart {
    /** Opens the picker; call it on a click. */
    choose(): Promise<void>;
    /** Gives files to the queue, as if they had been chosen. */
    take(files: readonly ChosenFile[]): void;
}

/** <incoming-row>: one upload. */
export interface IncomingRowElement extends IncomingPart {
    upload: Uploader | null;
}

declare global {
    interface HTMLElementTagNameMap {
        "incoming-uploader": IncomingUploaderElement;
        "incoming-drop-area": IncomingDropAreaElement;
        "incoming-row": IncomingRowElement;
        /** A row for each upload. */
        "incoming-list": IncomingPart;
        /** All files together. */
        "incoming-total": IncomingPart;
        /** What was begun earlier and not finished. */
        "incoming-unfinished": IncomingPart;
        /** The live region. */
        "incoming-announcements": IncomingPart;
    }
    interface HTMLElementEventMap {
        "incoming-finished": CustomEvent<{ upload: Uploader }>;
        "incoming-failed": CustomEvent<{ upload: Uploader }>;
        "incoming-cancelled": CustomEvent<{ upload: Uploader }>;
        "incoming-chosen": CustomEvent<{ files: ChosenFile[] }>;
    }
}
