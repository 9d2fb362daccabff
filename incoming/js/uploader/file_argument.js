// Checks the arguments of an uploader, and the name it shows for its file. Pure.

import { bad_argument } from "../transport/errors.js";
import { check_options } from "./options.js";

/**
 * @param {unknown} ticket
 * @param {unknown} file
 * @param {import("../incoming.js").UploaderOptions} options
 * @throws {TypeError} for invalid arguments
 */
export function require_arguments(ticket, file, options) {
    if (typeof ticket !== "function" && (typeof ticket !== "string" || !ticket)) {
        throw bad_argument("the first argument is an upload id, or a function that gets one");
    }
    require_file(file);
    check_options("an uploader", options, ["path", "handle", "resume", "at_once"]);
}

/**
 * Checks the members rather than the class, which differs in another window and in a simulated browser.
 * @param {any} value
 * @throws {TypeError} for what is no File
 */
function require_file(value) {
    if (typeof value?.name === "string" && Number.isSafeInteger(value.size) && typeof value.slice === "function") return;
    const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
    throw bad_argument(`the second argument must be a File; given: ${kind}`);
}

/** @param {string} name of a File */
export function base_name(name) {
    return name.replace(/^.*[/\\]/s, "") || "file";
}

/**
 * @param {File} file
 * @param {string | undefined} given by the page
 * @returns {string} relative to what was chosen or dropped, with the name at its end
 */
export function path_of(file, given) {
    return given || file.webkitRelativePath || base_name(file.name);
}
