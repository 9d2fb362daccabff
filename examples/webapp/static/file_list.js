/** A list of files that changes while it is read. Items that stay are not touched, so that nobody loses the place. */
export class FileList {
    #list;
    #neighbour;
    #make_item;
    #items = new Map(); // by key: {node, version}

    /** `make_item(file)` returns the contents of a list item, an array of nodes. `neighbour` gets the focus when the
     * item that had it is gone and no other is left. */
    constructor(list, neighbour, make_item) {
        this.#list = list;
        this.#neighbour = neighbour;
        this.#make_item = make_item;
    }

    /** Shows these files in this order. `key` says which file it is, `version` whether anything about it has changed. */
    show(files) {
        const focused = [...this.#items].find(([, { node }]) => node.contains(document.activeElement))?.[0];
        const items = new Map();
        for (const { key, version, ...file } of files) {
            let item = this.#items.get(key);
            if (item?.version !== version) {
                item = { node: item?.node ?? document.createElement("li"), version };
                item.node.replaceChildren(...this.#make_item(file));
            }
            items.set(key, item);
        }
        for (const [key, { node }] of this.#items) if (!items.has(key)) node.remove();
        let next = this.#list.firstElementChild;
        for (const { node } of items.values()) {
            if (node === next) next = next.nextElementSibling;
            else this.#list.insertBefore(node, next);
        }
        this.#items = items;
        if (focused === undefined || this.#list.contains(document.activeElement)) return;
        const place = items.get(focused)?.node ?? this.#list;
        (place.querySelector("a, button") ?? this.#neighbour).focus();
    }
}
