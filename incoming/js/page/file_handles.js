// Keeps FileSystemFileHandles in IndexedDB, so that after a reload or a crash the file need not be chosen again. Only
// Chromium has such handles; elsewhere, and without storage, nothing is stored and no error is raised.

const DATABASE = "incoming";
const STORE = "handles";

export class FileHandles {
    #databases;

    /** @param {IDBFactory | null} databases */
    constructor(databases) {
        this.#databases = databases;
    }

    /**
     * @param {string} ticket
     * @param {FileSystemFileHandle} handle
     * @returns {Promise<boolean>} whether it was kept
     */
    async keep(ticket, handle) {
        const key = await this.#transact("readwrite", (store) => store.put(handle, ticket));
        return key === ticket;
    }

    /**
     * @param {string} ticket
     * @returns {Promise<FileSystemFileHandle | null>}
     */
    async find(ticket) {
        const handle = await this.#transact("readonly", (store) => store.get(ticket));
        return handle ?? null;
    }

    /** @param {string} ticket */
    async remove(ticket) {
        await this.#transact("readwrite", (store) => store.delete(ticket));
    }

    /**
     * @template T
     * @param {IDBTransactionMode} mode
     * @param {(store: IDBObjectStore) => IDBRequest<T>} act
     * @returns {Promise<T | null>} null when there is no storage
     */
    async #transact(mode, act) {
        try {
            const opening = this.#databases?.open(DATABASE, 1);
            if (!opening) return null;
            opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
            const database = await settled(opening);
            try {
                return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
            } finally {
                database.close();
            }
        } catch {
            return null;
        }
    }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}
