// What an operator does with uploads: the buttons, and the requests that they make.

import { make } from "./dom.js";
import { visible } from "./readable.js";

/** Milliseconds for which a request may take. */
export const PATIENCE = 8000;
/** Milliseconds for which a button that destroys something waits for the second click. */
const SURE_FOR = 4000;

/** Pages of other sites cannot send this header. */
const GUARD = { "X-Incoming-Operator": "1" };

/** @typedef {{id: string, state?: string, refused?: string}} Outcome */

/**
 * Returns the outcomes, or the reason why there are none.
 *
 * @param {string} action
 * @param {string[]} ids
 * @returns {Promise<Outcome[] | string>}
 */
export async function act(action, ids) {
    try {
        const answer = await fetch(`status/uploads/${action}`, {
            method: "POST",
            headers: { ...GUARD, "Content-Type": "application/json" },
            body: JSON.stringify({ ids }),
            signal: AbortSignal.timeout(PATIENCE),
        });
        if (!answer.ok) return visible((await answer.text()).slice(0, 300));
        return /** @type {{uploads: Outcome[]}} */ (await answer.json()).uploads;
    } catch {
        return "The server did not answer.";
    }
}

/**
 * A button. One that destroys something asks for a second click.
 *
 * @param {string} text
 * @param {string | null} sure what it says before the second click; null for none
 * @param {() => Promise<void>} work
 */
export function button(text, sure, work) {
    const made = /** @type {HTMLButtonElement} */ (make("button", "", text));
    made.type = "button";
    made.addEventListener("click", async () => {
        if (sure !== null && !made.classList.contains("sure")) {
            made.classList.add("sure");
            made.textContent = sure;
            setTimeout(() => {
                made.classList.remove("sure");
                made.textContent = text;
            }, SURE_FOR);
            return;
        }
        made.disabled = true;
        await work();
        made.disabled = false;
    });
    return made;
}
