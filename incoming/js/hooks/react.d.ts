// The module incoming-upload/react of the npm package; see doc/frameworks.md.
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { Queue, QueueOptions, TicketFunction } from "../incoming.js";
import type { IncomingUploaderElement } from "../incoming-uploader.js";
import type { IncomingState, IncomingStore } from "./store.js";

/**
 * The uploads of a component. With a ticket function they are the component's own, and paused when it is unmounted; with
 * a store they continue.
 */
export function useIncoming(
    source: TicketFunction | IncomingStore,
    options?: QueueOptions,
): { readonly state: IncomingState; readonly queue: Queue };

/** The attributes of <incoming-uploader>. */
export interface IncomingUploaderAttributes extends HTMLAttributes<IncomingUploaderElement> {
    "ticket-url"?: string;
    get_ticket?: TicketFunction;
    name?: string;
    server?: string;
    accept?: string;
    "max-size"?: string;
    "max-files"?: number | string;
    folders?: boolean;
    concurrency?: number | string;
    required?: boolean;
    disabled?: boolean;
    "no-title"?: boolean;
    "no-leave-warning"?: boolean;
}

declare module "react" {
    namespace JSX {
        interface IntrinsicElements {
            "incoming-uploader": DetailedHTMLProps<IncomingUploaderAttributes, IncomingUploaderElement>;
        }
    }
}
