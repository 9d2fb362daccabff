// The module incoming-upload/vue of the npm package; see doc/frameworks.md.
import type { ShallowRef } from "vue";
import type { Queue, QueueOptions, TicketFunction } from "../incoming.js";
import type { IncomingState, IncomingStore } from "./store.js";

/**
 * The uploads of a component. With a ticket function they are the component's own, and paused when it is unmounted; with
 * a store they continue.
 */
export function useIncoming(
    source: TicketFunction | IncomingStore,
    options?: QueueOptions,
): { readonly state: Readonly<ShallowRef<IncomingState>>; readonly queue: Queue };
