// Requests a ticket from the app at the URL of the attribute ticket-url.

/** @typedef {import("../incoming.js").TicketFunction} TicketFunction */

/**
 * @param {() => string | null} url
 * @returns {TicketFunction}
 */
export function ticket_request(url) {
    return (file, { path, signal }) => {
        const target = url();
        if (!target) throw Object.assign(new Error("the element has neither ticket-url nor get_ticket"), { retry: false });
        const body = new URLSearchParams({ filename: file.name, path, size: String(file.size), type: file.type });
        return fetch(target, { method: "POST", body, signal });
    };
}
