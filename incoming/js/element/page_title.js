// Shows in the title of the page how far its uploads are, and puts the title back. The page may change it meanwhile.

/** @type {Map<object, string>} by the element that uploads, its percentage; the first one is shown */
const shown = new Map();
let before = "";
let set = "";

/**
 * @param {object} owner
 * @param {string} percent "" when nothing is uploaded
 */
export function show_in_title(owner, percent) {
    if (document.title !== set) before = document.title;
    if (percent) shown.set(owner, percent);
    else shown.delete(owner);
    const [first] = shown.values();
    const wanted = first ? `${first} · ${before}` : before;
    if (document.title !== wanted) document.title = wanted;
    set = first ? document.title : "";
}
