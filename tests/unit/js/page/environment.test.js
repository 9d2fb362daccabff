import assert from "node:assert/strict";
import test from "node:test";
import { browser, changes_hidden_for } from "../../../../incoming/js/page/environment.js";

test("browsers are known by what they notice of a file that changes; of an unknown one the least is expected", () => {
    const agents = {
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36": 0,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36": 0,
        "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0": 0,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15": 10_000,
        "Mozilla/5.0 (iPhone; CPU iPhone OS) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/156.0 Mobile Safari/604.1": 10_000,
        "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0": Infinity,
        "": Infinity,
    };
    for (const [agent, hidden] of Object.entries(agents)) assert.equal(changes_hidden_for(agent), hidden, agent);
});

test("Node, which has none of a browser's things, is an environment, too", () => {
    const env = browser();
    assert.deepEqual([env.document, env.changes_hidden_for], [null, Infinity]);
});
