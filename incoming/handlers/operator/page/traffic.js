// The plot of the last hour's throughput: an area of one series, with a reading of the point under the pointer.

import { readableSize } from "./readable.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 72;
const BELOW = 18;
const ABOVE = 8;

/** Where the pointer is, from 0 to 1 over the width of the plot; null when it is elsewhere. @type {number | null} */
let pointed = null;

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
function shape(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    if (text !== undefined) made.textContent = text;
    return made;
}

/** The end of the scale: 1, 2, 4, 8, ... 512 of a binary unit. @param {number} most */
export function scaleEnd(most) {
    let end = 1024;
    while (end < most) end *= 2;
    return end;
}

/** @param {number} time seconds since the epoch */
function clockTime(time) {
    return new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/**
 * @param {Element} svg
 * @param {Element} reading
 * @param {number} now seconds since the epoch
 * @param {{slot: number, speeds: number[]}} traffic bytes a second in each slot of so many seconds, oldest first
 */
export function drawTraffic(svg, reading, now, traffic) {
    const { width, height } = svg.getBoundingClientRect();
    const { slot, speeds } = traffic;
    const bottom = height - BELOW;
    const end = scaleEnd(Math.max(...speeds));
    const begin = Math.floor(now / slot) * slot - speeds.length * slot;
    const x = (/** @type {number} */ index) => LEFT + ((width - LEFT) * index) / (speeds.length - 1);
    const y = (/** @type {number} */ speed) => bottom - ((bottom - ABOVE) * speed) / end;
    const shapes = [];
    for (const part of [0, 0.5, 1]) {
        shapes.push(shape("line", { class: "grid", x1: LEFT, x2: width, y1: y(end * part), y2: y(end * part) }));
        shapes.push(
            shape("text", { x: LEFT - 8, y: y(end * part) + 4, "text-anchor": "end" }, `${readableSize(end * part)}/s`),
        );
    }
    const quarters = width < 500 ? [0, 2, 4] : [0, 1, 2, 3, 4];
    for (const quarter of quarters) {
        const anchor = quarter === 0 ? "start" : quarter === 4 ? "end" : "middle";
        const at = LEFT + ((width - LEFT) * quarter) / 4;
        const time = clockTime(begin + (speeds.length * slot * quarter) / 4);
        shapes.push(shape("text", { x: at, y: height - 3, "text-anchor": anchor }, time));
    }
    const line = speeds.map((speed, index) => `${x(index).toFixed(1)},${y(speed).toFixed(1)}`);
    shapes.push(shape("path", { class: "area", d: `M${LEFT},${bottom}L${line.join("L")}L${width},${bottom}Z` }));
    shapes.push(shape("path", { class: "line", d: `M${line.join("L")}` }));
    const index = pointed === null ? speeds.length - 1 : Math.round(pointed * (speeds.length - 1));
    if (pointed !== null) {
        shapes.push(shape("line", { class: "cursor", x1: x(index), x2: x(index), y1: ABOVE, y2: bottom }));
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(...shapes);
    reading.textContent = `${clockTime(begin + index * slot)}: ${readableSize(speeds[index] ?? 0)}/s`;
    watchPointer(svg, () => drawTraffic(svg, reading, now, traffic));
}

/** @param {Element} svg @param {() => void} draw */
function watchPointer(svg, draw) {
    const graphic = /** @type {SVGElement} */ (svg);
    graphic.onpointermove = (event) => {
        const box = svg.getBoundingClientRect();
        pointed = Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / (box.width - LEFT)));
        draw();
    };
    graphic.onpointerleave = () => {
        pointed = null;
        draw();
    };
}
