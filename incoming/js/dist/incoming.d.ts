// The public interface of incoming.js (global `incoming`) and of incoming.mjs; doc/api.md describes each.

/**
 * Set the address of the upload server: "host" or "host:port", with a scheme in front or a path prefix behind if need be.
 * Throws a TypeError for what is no host name.
 */
export function set_server_hostname(hostname: string): void;

/** The URL below which the upload server in use is reached, with a slash at its end. */
export function server_url(): string;

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
    /** Whether `continue_upload` can resume it without the file being chosen again. */
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

/** The text of each plural form that the language has, by its name in `Intl.PluralRules`. */
export type PluralForms = Readonly<Partial<Record<Intl.LDMLPluralRule, string>>>;

/** The texts of one language by their keys; the packs of the server are such objects. */
export interface LanguagePack {
    readonly [key: string]: string | PluralForms | undefined;
    /** BCP 47. */
    readonly language: string;
}

/** Chooses the language of `state_msg` from now on; null is English. Throws a TypeError for what is no pack. */
export function set_language(pack: LanguagePack | null): void;

/** Where an upload is. */
export type UploadState =
    | "idle"
    | "requesting_ticket"
    | "connecting"
    | "transferring"
    | "reconnecting"
    | "waiting"
    | "handing_over"
    | "arrived"
    | "delayed"
    | "processing"
    | "paused"
    | "cancelling"
    | "finished"
    | "cancelled"
    | "failed";

/** What an upload is slow by: the line, this browser or device, the server, its storage, or the app. */
export type UploadLimit = "line" | "browser" | "server" | "disk" | "app";

/** The path of the bytes, as the server sees it; doc/protocol.md describes each. Shares are from 0 to 1. */
export interface ServerFigures {
    readonly limit: "server" | "disk" | "";
    /** Over which was measured. */
    readonly seconds: number;
    /** Bytes a second. */
    readonly rate: number;
    /** Seconds from the arrival of bytes until they are safe. */
    readonly delay: number;
    /** Bytes that wait for that. */
    readonly pending: number;
    readonly held: number;
    readonly blocked: number;
    readonly writing: number;
    readonly committing: number;
    readonly late: number;
    readonly busy: number;
    /** Seconds. */
    readonly rtt: number | null;
    /** TCP segments. */
    readonly retransmits: number;
    /** TCP segments, mostly behind a lost one. */
    readonly out_of_order: number;
}

/** Why an upload is not faster; frozen. */
export interface Diagnosis {
    /** null where nothing is awaited, or where it is not known yet. */
    readonly limit: UploadLimit | null;
    readonly state: UploadState;
    readonly transport: "websocket" | "http" | "direct" | "";
    /** Of requests over HTTP: "http/1.1", "h2", "h3"; "" for a WebSocket, and where the browser hides it. */
    readonly protocol: string;
    /** Whether requests over HTTP share one of the browser's connections (HTTP/2, HTTP/3), whatever `connections` is. */
    readonly multiplexed: boolean;
    readonly connections: number;
    /** Bytes a second. */
    readonly rate: number;
    /** That of the uploader, 0 for none. */
    readonly max_rate: number;
    /** Sent and not acknowledged. */
    readonly bytes_ahead: number;
    /** Of those, still in the browser. */
    readonly bytes_buffered: number;
    /** Seconds from a chunk to its ack; null before the first. */
    readonly ack_delay: number | null;
    /** Seconds by which the page's timers are late. */
    readonly lag: number;
    /** Share of the time in which the file was being read while there was nothing to send. */
    readonly reading: number;
    /** null where the server has not reported lately. */
    readonly server: ServerFigures | null;
}

/**
 * Gets the ticket for a file from the app: the ticket itself, or the Response that has it. Called again, with back-off, when
 * it rejects or the app is away; an error whose `retry` is false, and a refusing Response, end the upload.
 */
export type TicketFunction = (
    file: File,
    context: { readonly path: string; readonly signal: AbortSignal },
) => string | Response | Promise<string | Response>;

/** Called with the uploader whose property, flag or outcome it is about. */
export type UploaderCallback = ((uploader: Uploader) => void) | null;

/** What can be seen of an upload at one moment; frozen. */
export type UploaderSnapshot = Readonly<Pick<Uploader, UploaderProperty>>;

type UploaderProperty =
    | "upload_id"
    | "filename"
    | "path"
    | "bytes_total"
    | "bytes_tx"
    | "bytes_acked"
    | "bytes_received"
    | "bytes_ahead"
    | "frac_complete"
    | "chunks_tx_now"
    | "chunks_acked_now"
    | "chunks_ahead"
    | "rate"
    | "eta"
    | "next_try_in"
    | "state"
    | "state_msg"
    | "cancel_msg"
    | "error_code"
    | "error_name"
    | "error_msg"
    | "connected"
    | "finished"
    | "failed"
    | "paused"
    | "can_pause"
    | "cancelling"
    | "cancelled"
    | "can_cancel"
    | "transport";

/** One upload. All but the callbacks, `max_rate` and `warn_on_leave` is to be read only. */
export interface Uploader {
    /** The ticket; "" until there is one. */
    readonly upload_id: string;
    /** Without any path. */
    readonly filename: string;
    /** Relative to the folder that was chosen or dropped, with the name at its end. */
    readonly path: string;
    readonly bytes_total: number;
    /** Always `bytes_acked + bytes_ahead`, and never more than `bytes_total`. */
    readonly bytes_tx: number;
    /** Safe at the server. */
    readonly bytes_acked: number;
    /** Safe, or received at least: what a bar shows. More than `bytes_acked` where the server stores whole parts only. */
    readonly bytes_received: number;
    readonly bytes_ahead: number;
    /** From 0 to 1; 1 means that the file has arrived, not that the app has it. */
    readonly frac_complete: number;
    readonly chunks_tx_now: number;
    readonly chunks_acked_now: number;
    readonly chunks_ahead: number;
    /** Bytes a second that have arrived lately; measured each time it is read. */
    readonly rate: number;
    /** Seconds until the file will have arrived, by the present rate; null while that is unknown. */
    readonly eta: number | null;
    /** Seconds until the next try to connect or to get a ticket; null when none is waited for. */
    readonly next_try_in: number | null;
    readonly state: UploadState;
    readonly state_msg: string;
    readonly cancel_msg: string;
    /** null as long as there is no error; also set while the upload waits for the end of a passing one. */
    readonly error_code: number | null;
    /** The name of `error_code`. */
    readonly error_name: string | null;
    readonly error_msg: string;
    readonly connected: boolean;
    readonly finished: boolean;
    /** An error has ended the upload, or this attempt. */
    readonly failed: boolean;
    readonly paused: boolean;
    readonly can_pause: boolean;
    readonly cancelling: boolean;
    readonly cancelled: boolean;
    readonly can_cancel: boolean;
    /** How the upload is connected, "" while it is not. */
    readonly transport: "websocket" | "http" | "direct" | "";

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
    /** The same, also for a paused upload. */
    discard(reason?: string): this;
    /** Ends the wait for the next try; does nothing where there is none. */
    retry_now(): this;
    /** What limits the upload at this moment. */
    diagnosis(): Diagnosis;

    /** The same object until a property or flag has changed; for stores. */
    snapshot(): UploaderSnapshot;
    /** Calls `listener` at once and after each change of a property or flag; the result ends that. */
    subscribe(listener: (snapshot: UploaderSnapshot) => void): () => void;
}

export interface UploaderOptions {
    /** Where `file` came from; kept, so that the upload can be resumed after a reload. */
    handle?: FileSystemFileHandle | null;
    /** Where the file lies in the folder that was chosen; the default is its `webkitRelativePath`, or its name. */
    path?: string;
    /** With a ticket function: whether an unfinished upload of the same file is resumed instead. */
    resume?: boolean;
    /** Whether a small file (up to 160 KiB) is sent with the first request, over HTTP. A queue does so. */
    at_once?: boolean;
}

export interface UploaderConstructor {
    new (ticket: string | TicketFunction, file: File, options?: UploaderOptions): Uploader;
    (ticket: string | TicketFunction, file: File, options?: UploaderOptions): Uploader;
}

/** Creates an uploader for one file and one ticket, with or without `new`. Throws a TypeError for anything else. */
export const Uploader: UploaderConstructor;

/** A file, and where it came from. */
export interface ChosenFile {
    readonly file: File;
    /** Relative to what was chosen or dropped, with the name at its end. */
    readonly path?: string;
    /** Kept, so that the upload can be resumed after a reload. */
    readonly handle?: FileSystemFileHandle | null;
}

/** The files in what was dropped or pasted, those in folders included. Call it in the event itself. */
export function files_of(data_transfer: DataTransfer): Promise<{
    files: ChosenFile[];
    /** What could not be read. */
    problems: { path: string; error: unknown }[];
}>;

export interface QueueOptions {
    /** How many files are sent at once; 3 if not given. */
    concurrency?: number;
    /** Whether unfinished uploads of the same files are resumed; true if not given. */
    resume?: boolean;
    /** For all uploaders of the queue. */
    warn_on_leave?: boolean;
    /** Whether nothing starts before `resume()`. */
    paused?: boolean;
}

/** What can be seen of a queue at one moment; frozen. Bytes do not count cancelled files. */
export interface QueueSnapshot {
    readonly uploads: readonly Uploader[];
    readonly files_total: number;
    readonly files_finished: number;
    readonly files_failed: number;
    readonly files_cancelled: number;
    /** Neither finished nor cancelled nor failed. */
    readonly files_active: number;
    readonly bytes_total: number;
    readonly bytes_acked: number;
    readonly frac_complete: number;
    readonly rate: number;
    readonly eta: number | null;
    /** Nothing starts before `resume()`. */
    readonly paused: boolean;
}

/** Many files, a few at a time. */
export interface Queue {
    /** Makes an uploader for each file; the queue starts it when it is its turn. */
    add(files: Iterable<File | ChosenFile>): Uploader[];
    /** Takes in an uploader that was made elsewhere, for example by `continue_upload()`. */
    adopt(upload: Uploader): Uploader;
    pause(): void;
    resume(): void;
    /** Cancels all that has not ended. */
    cancel(reason?: string): void;
    retry_failed(): void;
    /** A failed upload gets another turn; one that waits for its next try makes it now. */
    retry(upload: Uploader): void;
    /** It is no longer listed; if it has not ended it is cancelled. */
    remove(upload: Uploader): void;
    /** What has ended is no longer listed. */
    clear(): void;
    /** Whether it waits for its turn. */
    is_queued(upload: Uploader): boolean;
    snapshot(): QueueSnapshot;
    /** Calls `listener` at once and after changes; the result ends that. */
    subscribe(listener: (snapshot: QueueSnapshot) => void): () => void;
}

export interface QueueConstructor {
    new (get_ticket: TicketFunction, options?: QueueOptions): Queue;
    (get_ticket: TicketFunction, options?: QueueOptions): Queue;
}

/** Creates a queue, with or without `new`. Throws a TypeError for an unknown option. */
export const Queue: QueueConstructor;

// --- the global -----------------------------------------------------------------------------------------------------------

declare global {
    namespace incoming {
        type UnfinishedUpload = import("./incoming.js").UnfinishedUpload;
        type Uploader = import("./incoming.js").Uploader;
        type UploaderCallback = import("./incoming.js").UploaderCallback;
        type UploaderConstructor = import("./incoming.js").UploaderConstructor;
        type UploaderSnapshot = import("./incoming.js").UploaderSnapshot;
        type UploaderOptions = import("./incoming.js").UploaderOptions;
        type UploadLimit = import("./incoming.js").UploadLimit;
        type Diagnosis = import("./incoming.js").Diagnosis;
        type UploadState = import("./incoming.js").UploadState;
        type TicketFunction = import("./incoming.js").TicketFunction;
        type LanguagePack = import("./incoming.js").LanguagePack;
        type ChosenFile = import("./incoming.js").ChosenFile;
        type Queue = import("./incoming.js").Queue;
        type QueueOptions = import("./incoming.js").QueueOptions;
        type QueueSnapshot = import("./incoming.js").QueueSnapshot;
    }
    /** What the script incoming.js defines. */
    const incoming: typeof import("./incoming.js");
}
