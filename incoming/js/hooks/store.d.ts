// The module incoming-upload/store of the npm package; doc/frameworks.md describes each.
import type { Queue, QueueOptions, QueueSnapshot, TicketFunction, Uploader, UploaderSnapshot } from "../incoming.js";

/** One upload at one moment; frozen, and the same object until it has changed. */
export type UploadEntry = UploaderSnapshot & {
    readonly uploader: Uploader;
    /** Identifies the upload in a list. */
    readonly key: number;
    /** Where the other properties come from. */
    readonly snapshot: UploaderSnapshot;
};

/** All uploads at one moment; frozen, and the same object until something has changed. */
export type IncomingState = Readonly<Omit<QueueSnapshot, "uploads">> & {
    readonly uploads: readonly UploadEntry[];
};

/** A store as Svelte and React's `useSyncExternalStore` use it. */
export interface IncomingStore {
    /** Adds files, pauses, cancels. */
    readonly queue: Queue;
    snapshot(): IncomingState;
    /** Calls `listener` at once and after changes; the result ends that. */
    subscribe(listener: (state: IncomingState) => void): () => void;
    /** A component shows the uploads until it calls the result: without any, they are paused. */
    show(): () => void;
}

/** Creates a queue and its store. */
export function incoming_store(get_ticket: TicketFunction, options?: QueueOptions): IncomingStore;
