// The form above the list, and the headings of its columns: which uploads are shown, in which order.

import { show, view } from "./address.js";
import { element } from "./dom.js";

/** Milliseconds without a key after which a search begins. */
const TYPING = 300;

const search = /** @type {HTMLInputElement} */ (element("search"));
const state = /** @type {HTMLSelectElement} */ (element("filter"));
const sort = /** @type {HTMLSelectElement} */ (element("sort"));
const headings = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("th[data-sort]"))];

function showFilters() {
    const wanted = view();
    if (document.activeElement !== search) search.value = wanted.text;
    state.value = wanted.state;
    sort.value = wanted.sort.replace("-", "");
    for (const heading of headings) {
        const isSorted = wanted.sort.replace("-", "") === heading.dataset.sort;
        // Names and states begin with the first, all other orders with the largest.
        const begins = heading.dataset.sort === "name" || heading.dataset.sort === "state" ? "ascending" : "descending";
        const opposite = begins === "ascending" ? "descending" : "ascending";
        if (isSorted) heading.setAttribute("aria-sort", wanted.sort.startsWith("-") ? opposite : begins);
        else heading.removeAttribute("aria-sort");
    }
}

/** A heading sorts by its column, again in the opposite order, and again as the server chooses. @param {string} name */
function turn(name) {
    const now = view().sort;
    show({ sort: now === name ? `-${name}` : now === `-${name}` ? "" : name });
}

export function watchFilters() {
    let typing = 0;
    search.addEventListener("input", () => {
        clearTimeout(typing);
        typing = window.setTimeout(() => show({ text: search.value.trim() }), TYPING);
    });
    state.addEventListener("change", () => show({ state: state.value }));
    sort.addEventListener("change", () => show({ sort: sort.value }));
    for (const heading of headings) {
        heading.querySelector("button")?.addEventListener("click", () => turn(heading.dataset.sort ?? ""));
    }
    element("filters").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", showFilters);
    showFilters();
}
