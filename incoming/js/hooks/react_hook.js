// React's hook. How uploads become a state is the store's business.
"use client";

import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { incoming_store } from "./queue_store.js";

/** @type {typeof import("./react.js").useIncoming} */
export function useIncoming(source, options) {
    const latest = useRef(source);
    useEffect(() => void (latest.current = source));
    const [own] = useState(() => {
        if (typeof source !== "function") return null;
        return incoming_store((...given) => /** @type {typeof source} */ (latest.current)(...given), options);
    });
    const store = own ?? /** @type {import("./store.js").IncomingStore} */ (source);
    useEffect(() => own?.show(), [own]);
    const state = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
    return { state, queue: store.queue };
}
