// Makes an object with private members work behind the Proxy of a reactive framework, and its functions work detached.
// A Proxy has no private members: called through one, a function or getter of the prototype could not reach them.

/**
 * @param {object} object gets own copies, bound to it, of what its prototype has by these names
 * @param {readonly string[]} names
 */
export function bind_members(object, names) {
    for (const name of names) {
        const { get, value } = /** @type {PropertyDescriptor} */ (
            Object.getOwnPropertyDescriptor(Object.getPrototypeOf(object), name)
        );
        const own = get ? { get: get.bind(object) } : { value: value.bind(object), writable: true };
        Object.defineProperty(object, name, { ...own, configurable: true });
    }
}
