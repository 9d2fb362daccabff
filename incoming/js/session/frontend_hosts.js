// The names of one upload server. Browsers open six connections to a name over HTTP/1.1, so those for chunks are spread over
// all names. Decides which name the next connection uses. A name that fails is not used again in this page.

/** The app, which may have the same name, needs some of the six. */
const OF_THE_FIRST = 4;
const OF_OTHERS = 6;

export class FrontendHosts {
    #first;
    /** @type {Map<string, number>} places left, by the URL of the frontend; negative where there are too many */
    #left;
    /** @type {Set<string>} */
    #failed = new Set();

    /** @param {string} frontend the URL that the page has chosen */
    constructor(frontend) {
        this.#first = frontend;
        this.#left = new Map([[frontend, OF_THE_FIRST]]);
    }

    /** @param {string[]} hosts that the server names, each perhaps with a port */
    add(hosts) {
        for (const host of hosts) {
            const frontend = this.#first.replace(/\/\/[^/]+/, `//${host}`);
            if (!this.#left.has(frontend) && !this.#failed.has(frontend)) this.#left.set(frontend, OF_OTHERS);
        }
    }

    /** Connections over HTTP that make sense. */
    get most() {
        return OF_THE_FIRST + OF_OTHERS * (this.#left.size - 1);
    }

    /**
     * @param {boolean} any whether any name will do
     * @returns {string} URL of the frontend for a connection, which ends with `leave`
     */
    enter(any) {
        const [[frontend]] = any ? [...this.#left].sort(([, a], [, b]) => b - a) : [[this.#first]];
        this.#count(frontend, -1);
        return frontend;
    }

    /** @param {string} frontend */
    leave(frontend) {
        this.#count(frontend, 1);
    }

    /**
     * There was no welcome at this name.
     * @param {string} frontend
     * @returns {boolean} whether another one is left, so that nothing is lost
     */
    failed(frontend) {
        if (frontend === this.#first) return false;
        this.#failed.add(frontend);
        this.#left.delete(frontend);
        return true;
    }

    /**
     * @param {string} frontend
     * @param {number} more
     */
    #count(frontend, more) {
        const left = this.#left.get(frontend);
        if (left !== undefined) this.#left.set(frontend, left + more);
    }
}
