// What the page shows is in its address after the "#": filters, order, and the upload whose details are open. So a view
// can be kept, sent to somebody, or opened with the id from a log. The server never sees that part of an address.

const NAMES = ["state", "text", "sort", "id"];

/** @typedef {{state: string, text: string, sort: string, id: string}} View */

/** @returns {View} */
export function view() {
    const given = new URLSearchParams(location.hash.slice(1));
    const [state, text, sort, id] = NAMES.map((name) => given.get(name) ?? "");
    return { state: state ?? "", text: text ?? "", sort: sort ?? "", id: id ?? "" };
}

/** The address of a view. @param {Partial<View>} changes to what is shown now */
export function address(changes) {
    const kept = Object.entries({ ...view(), ...changes }).filter(([, value]) => value);
    return `#${new URLSearchParams(kept)}`;
}

/** Changes what is shown. Opening an upload can be undone by the browser's Back. @param {Partial<View>} changes */
export function show(changes) {
    const wanted = address(changes);
    if (wanted === location.hash || (wanted === "#" && !location.hash)) return;
    if (changes.id) history.pushState(null, "", wanted);
    else history.replaceState(null, "", wanted);
    dispatchEvent(new Event("hashchange"));
}

/** The query by which the server selects uploads; empty for its own choice. */
export function query() {
    const { state, text, sort } = view();
    const given = Object.entries({ state, text, sort }).filter(([, value]) => value);
    return given.length ? `?${new URLSearchParams(given)}` : "";
}
