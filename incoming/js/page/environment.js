// Everything that the library uses of the browser, in one object, so that tests run without one: clocks, timers, random
// numbers, sockets, requests, storage and the page's events. Decides nothing; what is absent is null.

import { FetchRequest } from "./fetch_request.js";

/**
 * @typedef {object} Environment
 * @property {() => number} now milliseconds that never go back
 * @property {() => number} wall milliseconds since the epoch; advances while the machine sleeps
 * @property {(milliseconds: number, action: () => void) => unknown} after starts a timer
 * @property {(timer: any) => void} stop stops a timer
 * @property {() => number} random from 0 to 1
 * @property {(url: string, protocol: string) => WebSocket} open_socket throws where there are none
 * @property {() => XMLHttpRequest} new_request
 * @property {Storage | null} storage
 * @property {IDBFactory | null} databases
 * @property {SubtleCrypto | null} crypto on secure pages
 * @property {number} changes_hidden_for milliseconds after a file was written in which a further change may go unnoticed
 * @property {EventTarget | null} page its online, pageshow, pagehide and beforeunload events
 * @property {(EventTarget & {visibilityState: string}) | null} document
 * @property {{request(type: "screen"): Promise<{release(): Promise<void>}>} | null} wake_lock
 * @property {(url: string) => string} protocol by which a request was made ("h2", "http/1.1"), "" where the browser hides it
 * @property {string} version of the library, "" of its sources
 * @property {(message: string) => void} warn who writes the page
 * @property {((url: string, message: string) => boolean) | null} beacon delivers a last message while the page closes
 */

/** @returns {Environment} */
export function browser() {
    const scope = globalThis;
    const navigator = scope.navigator;
    return {
        now: () => performance.now(),
        wall: () => Date.now(),
        after: (milliseconds, action) => setTimeout(action, milliseconds),
        stop: (timer) => clearTimeout(timer),
        random: () => Math.random(),
        open_socket: (url, protocol) => new WebSocket(url, protocol),
        new_request: () => (scope.XMLHttpRequest ? new XMLHttpRequest() : /** @type {any} */ (new FetchRequest())),
        storage: absent_if_refused(() => scope.localStorage),
        databases: absent_if_refused(() => scope.indexedDB),
        crypto: scope.crypto?.subtle ?? null,
        changes_hidden_for: changes_hidden_for(navigator?.userAgent ?? ""),
        page: typeof scope.addEventListener === "function" ? scope : null,
        document: scope.document ?? null,
        wake_lock: navigator?.wakeLock ?? null,
        protocol: (url) => entry_of(url)?.nextHopProtocol ?? "",
        version: typeof __VERSION__ === "undefined" ? "" : __VERSION__,
        warn: (message) => console.warn(`incoming: ${message}`),
        beacon: navigator?.sendBeacon ? (url, message) => navigator.sendBeacon(url, message) : null,
    };
}

/**
 * Chromium compares the date of a file at each read. So does WebKit, but with a precision of a second, and the clock of
 * a file server may differ. Firefox remembers date and size, and reads what is there.
 * @param {string} user_agent
 */
export function changes_hidden_for(user_agent) {
    if (/Chrom(e|ium)\//.test(user_agent)) return 0;
    return /AppleWebKit\//.test(user_agent) ? 10_000 : Infinity;
}

/**
 * @param {string} url
 * @returns {PerformanceResourceTiming | undefined} of the last request; servers of other origins must permit it
 */
function entry_of(url) {
    return /** @type {any} */ (performance.getEntriesByName?.(url, "resource").at(-1));
}

/**
 * Access to localStorage throws where the user has forbidden it.
 * @template T
 * @param {() => T} get
 * @returns {T | null}
 */
function absent_if_refused(get) {
    try {
        return get() ?? null;
    } catch {
        return null;
    }
}
