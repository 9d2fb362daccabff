// The interface that both transports implement, as types: what a connection needs, what it can do and what it reports.
// Contains no code.

/** @typedef {import("./messages.js").Hello} Hello */
/** @typedef {import("./messages.js").Range} Range */
/** @typedef {import("./errors.js").Problem} Problem */

/**
 * What a connection reports. `closed` comes once and is the last event.
 * @typedef {object} Listener
 * @property {(welcome: import("./messages.js").Welcome) => void} welcome
 * @property {(chunks: Range[]) => void} ack each chunk as it was sent
 * @property {(extents: Range[], ranges: Range[]) => void} received what has arrived, and what is received and not safe yet
 * @property {(urls: [number, string][], expires_in: number) => void} [signed] URLs of parts for the object store
 * @property {(parts: number[]) => void} [unseen] parts that the object store does not have
 * @property {(outcome: import("./messages.js").Outcome) => void} state
 * @property {(figures: import("./messages.js").Path) => void} path how the bytes fare, as the server sees it
 * @property {(chunk: Range) => void} too_large a proxy rejects bodies of this size
 * @property {(problem: Problem | null) => void} closed with the server's reason, if any
 */

/**
 * The file as connections see it.
 * @typedef {object} Source
 * @property {(chunk: Range) => Promise<Blob | Uint8Array<ArrayBuffer>>} read rejected when the file is not what it was
 * @property {() => Promise<Uint8Array<ArrayBuffer>>} whole all bytes of a small file; rejected when it is not what it was
 * @property {(chunk: Range) => Promise<Problem | null>} doubt what is wrong with the file, now that this chunk does not move
 */

/**
 * @typedef {object} Target
 * @property {string} frontend URL of the server's frontend, with a slash at its end
 * @property {string} ticket
 * @property {Source} source of the bytes
 * @property {import("./long_poll.js").LongPoll} news of the page's uploads
 * @property {() => void} closed called once, when the connection has ended
 * @property {(useless: boolean) => void} whole_failed a file that was sent with its hello was not taken; `useless` if none is
 * @property {() => boolean} as_blobs whether chunks may be sent as Blobs, which browsers read themselves
 */

/**
 * One connection, of either kind.
 * @typedef {object} Connection
 * @property {"websocket" | "http"} kind
 * @property {number} depth chunks in flight at once
 * @property {number} buffered bytes that have not left the browser yet
 * @property {string} protocol of its requests, such as "h2"; "" where it is not known
 * @property {boolean} reads whether nothing can leave it because the file is being read
 * @property {(greeting: Hello, whole?: boolean) => void} open connects and sends hello; `whole`: over HTTP, the file with it
 * @property {(chunk: Range) => void} send
 * @property {(limit: string) => void} report sends the server what limits the upload, with the next message
 * @property {() => void} pause notifies the server, then closes
 * @property {(reason: string) => void} cancel notifies the server; the answer is a state
 * @property {(type: "sign" | "sent", parts: number[]) => void} [about_parts] where there is an object store
 * @property {() => void} check after a change of the network: finds out soon whether the line still works
 * @property {() => void} close without notifying the server
 */

export {};
