// The public interface of incoming.js (global `incoming`) and of incoming.mjs; doc/api.md tells more about each.

/**
 * Says where the upload server is: "host" or "host:port", with a scheme in front or a path prefix behind if need be.
 * Throws a TypeError for what is no host name.
 */
export function set_server_hostname(hostname: string): void;

/** Chooses how connections are made from now on; 'auto' is a WebSocket, or HTTP where that does not work. */
export function set_transport(transport: "auto" | "websocket" | "http"): void;

/** An upload that this browser has begun and not finished. */
export interface UnfinishedUpload {
    readonly ticket: string;
    readonly name: string;
    readonly size: number;
    /** Milliseconds since the epoch, as `File.lastModified`. */
    readonly last_modified: number;
    readonly bytes_acked: number;
    /** Milliseconds since the epoch. */
    readonly last_activity: number;
    /** Whether `continue_upload` can go on without the file being chosen again. */
    readonly can_continue: boolean;
}

/** The unfinished uploads of this site to the server in use, the latest first. */
export function unfinished(): UnfinishedUpload[];

/** The unfinished upload of a file with this name, size and modification time. */
export function match(file: File): UnfinishedUpload | null;

/** The upload is no longer listed. At the server nothing changes. */
export function forget(ticket: string): void;

/** With false, unfinished uploads are neither remembered nor, any more, listed. */
export function set_remember(wanted: boolean): void;

/** Makes an uploader, not yet started, with the file handle that was kept. Call it on a click; rejects if there is none. */
export function continue_upload(ticket: string): Promise<Uploader>;

/** Called with the uploader whose property, flag or outcome it is about. */
export type UploaderCallback = ((uploader: Uploader) => void) | null;

/** What can be seen of an upload at one moment; frozen. */
export type UploaderSnapshot = Readonly<Pick<Uploader, UploaderProperty>>;

type UploaderProperty =
    | "upload_id"
    | "filename"
    | "bytes_total"
    | "bytes_tx"
    | "bytes_acked"
    | "bytes_ahead"
    | "frac_complete"
    | "chunks_tx_now"
    | "chunks_acked_now"
    | "chunks_ahead"
    | "state_msg"
    | "cancel_msg"
    | "error_code"
    | "error_msg"
    | "connected"
    | "finished"
    | "paused"
    | "can_pause"
    | "cancelling"
    | "cancelled"
    | "can_cancel"
    | "transport";

/** One upload. All but the callbacks, `max_rate` and `warn_on_leave` is to be read only. */
export interface Uploader {
    readonly upload_id: string;
    /** Without any path. */
    readonly filename: string;
    readonly bytes_total: number;
    /** Always `bytes_acked + bytes_ahead`, and never more than `bytes_total`. */
    readonly bytes_tx: number;
    readonly bytes_acked: number;
    readonly bytes_ahead: number;
    /** From 0 to 1; 1 means that the file has arrived, not that the app has it. */
    readonly frac_complete: number;
    readonly chunks_tx_now: number;
    readonly chunks_acked_now: number;
    readonly chunks_ahead: number;
    readonly state_msg: string;
    readonly cancel_msg: string;
    /** null as long as there is no error; also set while the upload waits for the end of a passing one. */
    readonly error_code: number | null;
    readonly error_msg: string;
    readonly connected: boolean;
    readonly finished: boolean;
    readonly paused: boolean;
    readonly can_pause: boolean;
    readonly cancelling: boolean;
    readonly cancelled: boolean;
    readonly can_cancel: boolean;
    /** How the upload is connected, "" while it is not. */
    readonly transport: "websocket" | "http" | "";

    /** Bytes a second, 0 for no limit; may be set at any time. */
    max_rate: number;
    /** Whether the browser asks before the page is left while the upload runs. */
    warn_on_leave: boolean;

    /** After any change of anything above; always before the other callbacks. */
    onprogress: UploaderCallback;
    onfinished: UploaderCallback;
    /** The same as `onfinished`, under its old name. */
    onfinish: UploaderCallback;
    oncancelled: UploaderCallback;
    /** After an error that ended the upload. */
    onerror: UploaderCallback;

    start(): this;
    /** Throws a TypeError for any other argument. */
    pause(what: "pause" | "unpause" | "toggle"): this;
    cancel(reason?: string): this;

    /** The same object until a property or flag has changed; for stores. */
    snapshot(): UploaderSnapshot;
    /** Calls `listener` at once and after each change of a property or flag; the result ends that. */
    subscribe(listener: (snapshot: UploaderSnapshot) => void): () => void;
}

export interface UploaderOptions {
    /** Where `file` came from; kept, so that the upload can go on after a reload. */
    handle?: FileSystemFileHandle | null;
}

export interface UploaderConstructor {
    new (upload_id: string, file: File, options?: UploaderOptions): Uploader;
    (upload_id: string, file: File, options?: UploaderOptions): Uploader;
}

/** Creates an uploader for one file and one ticket, with or without `new`. Throws a TypeError for anything else. */
export const Uploader: UploaderConstructor;

// --- the global -----------------------------------------------------------------------------------------------------------

declare global {
    namespace incoming {
        type UnfinishedUpload = import("./incoming.js").UnfinishedUpload;
        type Uploader = import("./incoming.js").Uploader;
        type UploaderCallback = import("./incoming.js").UploaderCallback;
        type UploaderConstructor = import("./incoming.js").UploaderConstructor;
        type UploaderSnapshot = import("./incoming.js").UploaderSnapshot;
        type UploaderOptions = import("./incoming.js").UploaderOptions;
    }
    /** What the script incoming.js defines. */
    const incoming: typeof import("./incoming.js");
}
