// Makes the texts of one language: fills a message's parameters in, picks its plural form, and writes sizes, rates, times
// and percentages as the language does. Has no texts of its own.

/** @typedef {import("../../incoming.js").LanguagePack} LanguagePack */
/** @typedef {Record<string, string | number>} Parameters */

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte"];
/** @type {[string, number][]} the units of a duration, with their seconds */
const TIMES = [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
    ["second", 1],
];

export class Translator {
    #pack;
    #locale;
    /** @type {Map<string, Intl.NumberFormat>} */
    #formats = new Map();
    #plurals;

    /**
     * @param {LanguagePack} pack
     * @param {string} [locale] for numbers, such as "de-CH" with the pack for "de"
     */
    constructor(pack, locale = pack.language) {
        this.#pack = pack;
        this.#locale = locale;
        this.#plurals = new Intl.PluralRules(locale);
    }

    get language() {
        return this.#pack.language;
    }

    get direction() {
        return /^(ar|fa|he|ur)\b/.test(this.language) ? "rtl" : "ltr";
    }

    /** @param {Omit<LanguagePack, "language">} texts for those that the pack has not */
    complete(texts) {
        this.#pack = { ...texts, ...this.#pack };
    }

    /** @param {string} key */
    has(key) {
        return this.#pack[key] !== undefined;
    }

    /**
     * @param {string} key
     * @param {Parameters} [parameters] numbers are written as the language does; `count` decides the plural form
     */
    text(key, parameters = {}) {
        const message = this.#pack[key] ?? key;
        const forms = typeof message === "string" ? { other: message } : message;
        const text = forms[this.#plurals.select(Number(parameters.count ?? 0))] ?? forms.other ?? key;
        return text.replace(/\{(\w+)\}/g, (all, name) => {
            const value = parameters[name] ?? all;
            return typeof value === "number" ? this.#number(value, {}) : value;
        });
    }

    /** @param {number} bytes */
    size(bytes) {
        return this.#scaled(bytes, "");
    }

    /** @param {number} bytes a second */
    rate(bytes) {
        return this.#scaled(bytes, "-per-second");
    }

    /** @param {number} fraction rounded down: only all of it is 100 % */
    percent(fraction) {
        return this.#number(Math.floor(fraction * 100) / 100, { style: "percent" });
    }

    /**
     * In its largest unit, and the next one if that adds precision.
     * @param {number} seconds
     */
    duration(seconds) {
        const left = Math.max(1, Math.round(seconds));
        const index = TIMES.findIndex(([, size]) => left >= size);
        const [unit, size] = /** @type {[string, number]} */ (TIMES[index]);
        const next = TIMES[index + 1];
        const parts = [this.#unit(Math.floor(left / size), unit)];
        const rest = next ? Math.floor((left % size) / next[1]) : 0;
        if (next && rest > 0 && left < 10 * size) parts.push(this.#unit(rest, next[0]));
        return parts.join("\u00a0");
    }

    /** @param {number} value */
    number(value) {
        return this.#number(value, {});
    }

    /**
     * A short time, for measurements.
     * @param {number} seconds
     */
    delay(seconds) {
        return seconds < 1 ? this.#unit(seconds * 1000, "millisecond") : this.#unit(seconds, "second", 1);
    }

    /**
     * @param {number} bytes
     * @param {string} per
     */
    #scaled(bytes, per) {
        let value = bytes;
        let index = 0;
        for (; value >= 999.5 && index < SIZES.length - 1; index++) value /= 1000;
        const digits = index === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
        return this.#unit(value, `${SIZES[index]}${per}`, digits, index ? "short" : "long");
    }

    /**
     * @param {number} value
     * @param {string} unit
     * @param {number} [digits] behind the point, at most
     * @param {"short" | "long"} [display]
     */
    #unit(value, unit, digits = 0, display = "short") {
        return this.#number(value, { style: "unit", unit, unitDisplay: display, maximumFractionDigits: digits });
    }

    /**
     * @param {number} value
     * @param {Intl.NumberFormatOptions} options
     */
    #number(value, options) {
        const key = JSON.stringify(options);
        let format = this.#formats.get(key);
        if (!format) this.#formats.set(key, (format = new Intl.NumberFormat(this.#locale, options)));
        // A figure and its unit stay together.
        return format.format(value).replaceAll(" ", "\u00a0");
    }
}
