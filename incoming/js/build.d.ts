/** Identifies the sources of a bundle; tools/bundle.mjs defines it, and the sources themselves have none. */
declare const __BUILD__: string | undefined;
/** The project's version, in a bundle. */
declare const __VERSION__: string | undefined;
