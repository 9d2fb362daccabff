// The published declarations and the library say the same: `make check` compiles this, nothing runs it.
import * as actual from "../../../incoming/js/index.js";
import type * as declared from "../../../incoming/js/incoming.js";

export const everythingDeclaredIsThere: typeof declared = actual;
export const everythingThereIsDeclared: Record<keyof typeof actual, unknown> = everythingDeclaredIsThere;
