/** Tells people who do not look at the page what has happened. Decides when, and what is said together.
 *
 * `region` is a live region with the role `log`: screen readers read what is added to it, one after the other.
 */

const GATHER = 500; // milliseconds in which news of one kind become one sentence
const NAMES = 3; // in one sentence
const KEPT = 20; // sentences

export class Announcer {
    #region;
    #news = new Map(); // what has happened to which files

    constructor(region) {
        this.#region = region;
    }

    /** Says a sentence. */
    say(sentence) {
        const line = document.createElement("p");
        line.textContent = sentence;
        this.#region.append(line);
        while (this.#region.childElementCount > KEPT) this.#region.firstElementChild.remove();
    }

    /** Says what has happened to a file, "finished" for example, together with the others of this moment. */
    tell(what, name) {
        if (this.#news.size === 0) setTimeout(() => this.#say_news(), GATHER);
        this.#news.set(what, [...(this.#news.get(what) ?? []), name]);
    }

    #say_news() {
        for (const [what, names] of this.#news) {
            const others = names.length - NAMES;
            const listed = names.slice(0, NAMES).join(", ") + (others > 0 ? ` and ${others} more` : "");
            this.say(names.length === 1 ? `${listed}: ${what}` : `${names.length} files ${what}: ${listed}`);
        }
        this.#news.clear();
    }
}
