// Vue's composable. How uploads become a state is the store's business.

import { onMounted, onUnmounted, shallowRef } from "vue";
import { incoming_store } from "./queue_store.js";

/** @type {typeof import("./vue.js").useIncoming} */
export function useIncoming(source, options) {
    const own = typeof source === "function" ? incoming_store(source, options) : null;
    const store = own ?? /** @type {import("./store.js").IncomingStore} */ (source);
    const state = shallowRef(store.snapshot());
    /** @type {(() => void)[]} */
    let ends = [];
    onMounted(() => {
        ends = [store.subscribe((latest) => void (state.value = latest))];
        if (own) ends.push(own.show());
    });
    onUnmounted(() => ends.forEach((end) => end()));
    return { state, queue: store.queue };
}
