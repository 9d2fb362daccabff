// What this site keeps over page loads: small JSON values in localStorage, one key each, so that two tabs do not
// overwrite each other's. Without storage, or when it is full or forbidden, nothing is stored and no error is raised.

export class LocalStore {
    #storage;
    /** Whether new values are stored. */
    enabled = true;

    /** @param {Storage | null} storage */
    constructor(storage) {
        this.#storage = storage;
    }

    /**
     * @param {string} key
     * @param {unknown} value
     */
    set(key, value) {
        if (!this.enabled) return;
        this.#attempt((storage) => storage.setItem(key, JSON.stringify(value)));
    }

    /** @param {string} key */
    remove(key) {
        this.#attempt((storage) => storage.removeItem(key));
    }

    /**
     * Any script of the site can write here: entries without the required properties are skipped.
     * @param {string} prefix
     * @param {{[property: string]: "string" | "number" | "boolean"}} [properties] that a value has, with their types
     * @returns {[string, any][]} the rest of the key, and the value
     */
    entries(prefix, properties = {}) {
        /** @type {[string, any][]} */
        const found = [];
        this.#attempt((storage) => {
            for (let i = 0; i < storage.length; i++) {
                const key = storage.key(i) ?? "";
                const value = key.startsWith(prefix) ? parsed(storage.getItem(key)) : null;
                if (value && has(value, properties)) found.push([key.slice(prefix.length), value]);
            }
        });
        return found;
    }

    /** @param {(storage: Storage) => void} action */
    #attempt(action) {
        try {
            if (this.#storage) action(this.#storage);
        } catch {
            // QuotaExceededError, SecurityError: the upload itself does not depend on it.
        }
    }
}

/** @param {string | null} text */
function parsed(text) {
    try {
        const value = JSON.parse(text ?? "null");
        return typeof value === "object" ? value : null;
    } catch {
        return null;
    }
}

/**
 * @param {any} value
 * @param {{[property: string]: string}} properties
 */
function has(value, properties) {
    return Object.entries(properties).every(([name, type]) => typeof value[name] === type);
}
