// What the browser shows of a file at the moment it is chosen, against which later looks are compared. Some browsers show
// the present date of a file later.

/**
 * @typedef {object} ShownFile
 * @property {string} name
 * @property {number} size bytes
 * @property {number} last_modified milliseconds since the epoch
 * @property {string} media_type "" where the browser knows none
 * @property {number} at when that was, in milliseconds since the epoch
 */

/**
 * @param {import("../page/environment.js").Environment} env
 * @param {File} file
 * @returns {ShownFile}
 */
export function shown_file(env, { name, size, lastModified: last_modified, type: media_type }) {
    return { name, size, last_modified, media_type, at: env.wall() };
}
