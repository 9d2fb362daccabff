/** Buttons and checkboxes that are switched off and on while somebody is using them.
 *
 * A disabled control loses the keyboard's focus, and its user has to find the place again. So one that has the focus
 * only says that it is disabled, and does nothing, until the focus has moved on.
 */
export function set_enabled(control, enabled) {
    const has_focus = control === document.activeElement;
    control.disabled = !enabled && !has_focus;
    control.ariaDisabled = !enabled && has_focus ? "true" : null;
}

document.addEventListener("focusout", ({ target }) => {
    if (target.ariaDisabled !== "true") return;
    target.ariaDisabled = null;
    target.disabled = true;
});

document.addEventListener("click", (event) => {
    if (!event.target.closest("[aria-disabled=true]")) return;
    event.preventDefault();
    event.stopPropagation();
}, { capture: true });
