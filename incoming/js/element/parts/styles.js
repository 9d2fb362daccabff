// How the parts look. Colours are the page's own, lighter or darker: so they are right in light and dark pages, and in
// forced colours the browser's. A page changes them by the custom properties and by ::part().

/** The bundle has it without its white space. */
export const CSS = `
:host { display: block; font: inherit; color: inherit; text-align: start; container-type: inline-size;
    --accent: var(--incoming-accent, #2a6fdb); --line: var(--incoming-line, color-mix(in srgb, currentColor 25%, transparent));
    --soft: var(--incoming-soft, color-mix(in srgb, currentColor 7%, transparent)); --radius: var(--incoming-radius, .5rem);
    --trouble: var(--incoming-trouble, color-mix(in srgb, #e0440e 75%, currentColor)); }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
[part~=drop-area] { padding: 1.25rem 1rem; border: 2px dashed var(--line); border-radius: var(--radius); text-align: center; }
[part~=drop-area][data-over] { border-color: var(--accent); background: var(--soft); }
p { margin: 0 0 .75rem; }
[part~=drop-area] button { margin-block: .2rem; }
button { font: inherit; font-size: .9em; color: inherit; min-height: 2.25rem; padding: .25rem .75rem; margin: 0; cursor: pointer;
    background: var(--soft); border: 1px solid var(--line); border-radius: calc(var(--radius) * .75); }
button:hover { border-color: currentColor; }
button:disabled { cursor: default; opacity: .6; }
[part~=choose] { background: var(--accent); border-color: var(--accent); color: var(--incoming-on-accent, #fff); font-weight: 600; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
ul { list-style: none; margin: 0; padding: 0; }
li { padding: .75rem 0; border-top: 1px solid var(--line); }
[part~=total] { padding-top: 1rem; }
[part=list] { margin-top: .75rem; }
h2 { font-size: 1em; margin: 1.25rem 0 .5rem; }
[part~=row] { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .25rem .75rem; align-items: center; }
[part~=name] { justify-self: start; font-weight: 600; overflow-wrap: anywhere; }
[part~=buttons] { display: flex; flex-wrap: wrap; gap: .5rem; justify-content: end; grid-row: span 3; }
[part=status] { font-size: .9em; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.short { white-space: nowrap; }
[data-look=trouble] [part=status]::before, [part=problems] li::before { content: "⚠\\FE0E\\00A0" / ""; color: var(--trouble); }
[data-look=done] [part=status]::before { content: "✓\\00A0" / ""; }
[part=problems] { text-align: start; margin-top: .75rem; font-size: .9em; }
[part=problems] li { border: 0; padding: .15rem 0; }
progress { appearance: none; inline-size: 100%; block-size: .5rem; border: 0; border-radius: 1rem; overflow: hidden; background: var(--line); }
progress::-webkit-progress-bar { background: transparent; }
progress::-webkit-progress-value { background: var(--accent); border-radius: 1rem; }
progress::-moz-progress-bar { background: var(--accent); border-radius: 1rem; }
[data-look=trouble] progress::-webkit-progress-value { opacity: .55; }
[role=log] { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
details { grid-column: 1 / -1; font-size: .9em; }
details button { font-size: 1em; }
summary { cursor: pointer; inline-size: fit-content; padding-block: .25rem; }
[part~=limit] { margin-block: .25rem; font-weight: 600; }
dl { display: grid; grid-template-columns: fit-content(60%) 1fr; gap: .15rem 1rem; margin: 0 0 .5rem; font-variant-numeric: tabular-nums; }
dd { margin: 0; }
textarea { display: block; inline-size: 100%; margin-top: .5rem; font: .9em monospace; color: inherit; background: transparent; border: 1px solid var(--line); }
@container (max-width: 30rem) { [part~=row] { grid-template-columns: minmax(0, 1fr); } [part~=buttons] { grid-row: auto; order: 1; justify-content: start; } details { order: 2; } }
@media (prefers-reduced-motion: no-preference) { progress::-webkit-progress-value { transition: inline-size .3s; } }
@media (forced-colors: active) {
    progress { forced-color-adjust: none; background: Canvas; border: 1px solid CanvasText; }
    progress::-webkit-progress-value { background: Highlight; } progress::-moz-progress-bar { background: Highlight; }
    [part~=drop-area][data-over] { outline: 3px solid Highlight; } }
`;

/** @type {CSSStyleSheet | null} */
let sheet = null;

/** One sheet for all parts; a policy against inline styles does not forbid it. */
export function styles() {
    if (!sheet) {
        sheet = new CSSStyleSheet();
        sheet.replaceSync(CSS);
    }
    return sheet;
}
