// One HTTP request. XMLHttpRequest, because only it reports how much of a body has been sent. Decides only whether an
// answer is one of the server's own errors.

import { parse_object, problem } from "./messages.js";

/** @typedef {import("./errors.js").Problem} Problem */

/**
 * @typedef {object} Request
 * @property {string} method
 * @property {string} url
 * @property {Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | string | null} [body]
 * @property {Record<string, string>} [headers]
 * @property {(progress: {loaded: number}) => void} [on_sent] some of the body has left the browser
 */

/**
 * @typedef {object} Answer
 * @property {number} status 0 when there was none
 * @property {any} json the body, null if it is not a JSON object
 * @property {Problem | null} problem the error, if the server itself sent one
 * @property {number | null} retry_after seconds
 */

/**
 * @param {import("../page/environment.js").Environment} env
 * @param {Request} request
 * @param {(answer: Answer) => void} done called once, unless the request is aborted
 * @returns {() => void} aborts
 */
export function request(env, { method, url, body = null, headers = {}, on_sent }, done) {
    const xhr = env.new_request();
    let over = false;
    xhr.open(method, url);
    // Without further headers a simple request in the sense of CORS: no preflight (Fetch standard, 4.8).
    xhr.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (on_sent) xhr.upload.onprogress = on_sent;
    xhr.onloadend = () => {
        if (!over) done(answer(xhr));
    };
    xhr.send(body);
    return () => {
        over = true;
        xhr.abort();
    };
}

/**
 * @param {XMLHttpRequest} xhr
 * @returns {Answer}
 */
function answer(xhr) {
    const json = xhr.status ? parse_object(xhr.responseText) : null;
    const is_error = xhr.status >= 400 && Number.isSafeInteger(json?.code);
    const seconds = Number(xhr.status ? xhr.getResponseHeader("Retry-After") : null);
    return {
        status: xhr.status,
        json,
        problem: is_error ? problem(json) : null,
        retry_after: seconds > 0 ? seconds : null,
    };
}
