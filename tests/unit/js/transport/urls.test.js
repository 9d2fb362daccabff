import assert from "node:assert/strict";
import test from "node:test";
import { frontend_url, upload_url, websocket_url } from "../../../../incoming/js/transport/urls.js";

const PAGE = { origin: "https://app.example:8080", script: null };
const script = (url) => ({ ...PAGE, script: url });

const CASES = [
    ["no hostname: the page's own host", "", PAGE, "https://app.example:8080/incoming/0.1/frontend/"],
    ["a host", "up.example", PAGE, "https://up.example/incoming/0.1/frontend/"],
    ["a host and a port", "up.example:4000", PAGE, "https://up.example:4000/incoming/0.1/frontend/"],
    ["blanks around it", "  up.example:4000 ", PAGE, "https://up.example:4000/incoming/0.1/frontend/"],
    ["an address", "127.0.0.1:4000", PAGE, "https://127.0.0.1:4000/incoming/0.1/frontend/"],
    ["an IPv6 address", "[::1]:4000", PAGE, "https://[::1]:4000/incoming/0.1/frontend/"],
    ["http only where the page is plain http", "up.example", { ...PAGE, origin: "http://app.example" }, "http://up.example/incoming/0.1/frontend/"],
    ["secure from a file", "up.example", { ...PAGE, origin: "null" }, "https://up.example/incoming/0.1/frontend/"],
    ["a scheme is obeyed", "http://up.example:4000", PAGE, "http://up.example:4000/incoming/0.1/frontend/"],
    ["a scheme of the other kind too", "WSS://up.example/", PAGE, "https://up.example/incoming/0.1/frontend/"],
    ["two slashes without a scheme", "//up.example", PAGE, "https://up.example/incoming/0.1/frontend/"],
    ["a path prefix", "up.example/files/", PAGE, "https://up.example/files/incoming/0.1/frontend/"],
    ["the prefix of the script", "", script("https://app.example:8080/files/incoming/0.1/frontend/incoming.js?v=3"), "https://app.example:8080/files/incoming/0.1/frontend/"],
    ["the prefix of the module", "", script("https://app.example:8080/files/incoming/frontend/incoming.mjs"), "https://app.example:8080/files/incoming/frontend/"],
    ["the script's old prefix", "up.example", script("https://up.example/incoming/frontend/incoming.js"), "https://up.example/incoming/frontend/"],
    ["the script's host is not taken", "", script("https://cdn.example/incoming/0.1/frontend/incoming.js"), "https://app.example:8080/incoming/0.1/frontend/"],
    ["a prefix given wins", "up.example/a", script("https://up.example/b/incoming/0.1/frontend/incoming.js"), "https://up.example/a/incoming/0.1/frontend/"],
    ["a versioned script", "", script("https://app.example:8080/f/incoming/0.1/frontend/3f2a9c/incoming.js"), "https://app.example:8080/f/incoming/0.1/frontend/"],
    ["a folder of the app that is called frontend says nothing", "", script("https://app.example:8080/static/frontend/incoming.js"), "https://app.example:8080/incoming/0.1/frontend/"],
    ["nor does a deeper folder of that name", "", script("https://app.example/incoming/assets/js/frontend/incoming.js"), "https://app.example:8080/incoming/0.1/frontend/"],
    ["nor the path that a bundler has written in", "", script("file:///home/dev/incoming/0.1/frontend/incoming.mjs"), "https://app.example:8080/incoming/0.1/frontend/"],
    ["the whole frontend URL", "https://up.example/f/incoming/0.1/frontend/", PAGE, "https://up.example/f/incoming/0.1/frontend/"],
    ["a page without an origin: the script's", "", { origin: "null", script: "http://up.example:4000/incoming/0.1/frontend/incoming.js" }, "http://up.example:4000/incoming/0.1/frontend/"],
    ["and its scheme", "up.example", { origin: null, script: "http://up.example:4000/incoming/0.1/frontend/incoming.js" }, "http://up.example/incoming/0.1/frontend/"],
    ["the page's scheme counts more", "up.example", { origin: "https://app.example", script: "http://x.example/incoming.js" }, "https://up.example/incoming/0.1/frontend/"],
    ["a script of another name says nothing", "", script("https://app.example/assets/bundle.js"), "https://app.example:8080/incoming/0.1/frontend/"],
];

for (const [what, hostname, place, expected] of CASES) {
    test(what, () => assert.equal(frontend_url(hostname, place), expected));
}

test("what is no host name is refused with a TypeError that names it", () => {
    for (const hostname of ["::1", "up example", "ftp://up.example", "up.example?x=1", "https://", "/files", "up.example:port"]) {
        assert.throws(() => frontend_url(hostname, PAGE), (error) => error instanceof TypeError && error.message.includes(hostname));
    }
});

test("the URLs of an upload", () => {
    const frontend = "https://up.example/incoming/0.1/frontend/";
    assert.equal(websocket_url(frontend, "a b&c"), "wss://up.example/incoming/0.1/frontend/upload_ws?ticket=a%20b%26c");
    assert.equal(websocket_url("http://up.example/f/", "t"), "ws://up.example/f/upload_ws?ticket=t");
    assert.equal(upload_url(frontend, "a/b"), "https://up.example/incoming/0.1/frontend/upload/a%2Fb");
});
