// What http_request.js uses of XMLHttpRequest, made with fetch: for Node and for service workers, which have no other.
// Fetch does not report how much of a body has been sent; the server is queried.

export class FetchRequest {
    upload = { onprogress: /** @type {unknown} */ (null) };
    status = 0;
    responseText = "";
    /** @type {(() => void) | null} */
    onloadend = null;
    #what = ["GET", ""];
    /** @type {Record<string, string>} */
    #headers = {};
    #abort = new AbortController();
    /** @type {Headers | null} */
    #answered = null;

    /**
     * @param {string} method
     * @param {string} url
     */
    open(method, url) {
        this.#what = [method, url];
    }

    /**
     * @param {string} name
     * @param {string} value
     */
    setRequestHeader(name, value) {
        this.#headers[name] = value;
    }

    /** @param {string} name */
    getResponseHeader(name) {
        return this.#answered?.get(name) ?? null;
    }

    abort() {
        this.#abort.abort();
    }

    /** @param {BodyInit | null} body */
    async send(body) {
        const [method, url = ""] = this.#what;
        try {
            const response = await fetch(url, { method, headers: this.#headers, body, signal: this.#abort.signal });
            this.responseText = await response.text();
            this.#answered = response.headers;
            this.status = response.status;
        } catch {
            // As after an error of the network: no status.
        }
        this.onloadend?.();
    }
}
