// The state machine of an upload as the user sees it: the phases and the events that each accepts, in one table. Events
// without an entry are ignored. Pure.

/** @typedef {"idle"|"requesting"|"connecting"|"transferring"|"waiting"|"handing_over"|"paused"|"cancelling"|"finished"|"cancelled"|"failed"} Phase */

/**
 * start, pause, cancel: the user's actions. request: the start of an upload that has no ticket yet. drop: cancelled without a connection.
 * connect: chunks may flow. arrive: the server has every byte. lose: no connection is left. finish, cancelled: the
 * final state at the server. fail: a permanent error.
 * @typedef {"start"|"request"|"pause"|"cancel"|"drop"|"connect"|"arrive"|"lose"|"finish"|"cancelled"|"fail"} Event
 */

/** @type {{[event in Event]?: Phase}} */
const OUTCOMES = { finish: "finished", cancelled: "cancelled", fail: "failed" };

/** @type {{[phase in Phase]: {[event in Event]?: Phase}}} */
const NEXT = {
    idle: { start: "connecting", request: "requesting", drop: "cancelled" },
    requesting: { start: "connecting", pause: "paused", drop: "cancelled", fail: "failed" },
    connecting: {
        pause: "paused",
        // Where the file is under way with its hello.
        cancel: "cancelling",
        connect: "transferring",
        arrive: "handing_over",
        lose: "waiting",
        drop: "cancelled",
        ...OUTCOMES,
    },
    transferring: { pause: "paused", cancel: "cancelling", arrive: "handing_over", lose: "waiting", ...OUTCOMES },
    // Attempts to connect again belong to the wait, so that it can be paused all the time.
    waiting: { pause: "paused", connect: "transferring", arrive: "handing_over", drop: "cancelled", ...OUTCOMES },
    // After a power cut at the server some bytes may be missing again.
    handing_over: { connect: "transferring", ...OUTCOMES },
    paused: { start: "connecting", request: "requesting", drop: "cancelled" },
    // Too late to cancel: the server's state counts.
    cancelling: { connect: "transferring", arrive: "handing_over", lose: "waiting", drop: "cancelled", ...OUTCOMES },
    finished: {},
    cancelled: {},
    failed: { start: "connecting", request: "requesting", drop: "cancelled" },
};

/**
 * @param {Phase} phase
 * @param {Event} event
 * @returns {Phase | undefined} the phase after it, undefined if it cannot happen
 */
export function next_phase(phase, event) {
    return NEXT[phase][event];
}
