import assert from "node:assert/strict";
import test from "node:test";
import { Stage, WELCOME } from "../support/connections.js";

const SIZE = 1_000_000;

test("connections are of the kind that is wanted", () => {
    const { servers } = new Stage();
    delete servers.connect;
    assert.equal(servers.connect("http", "t", null, {}).kind, "http");
    assert.equal(servers.connect("websocket", "t", null, {}).kind, "websocket");
});

test("a server of a version that the library does not fit is named once, and the server is told the library's", async () => {
    const stage = new Stage();
    stage.env.version = "1.4.0";
    stage.uploader(SIZE).start();
    const connection = await stage.connected();
    assert.equal(connection.hello.library, "incoming.js/1.4.0");
    connection.welcome({ version: "2.0.0" });
    stage.servers.met({ version: "2.0.0" });
    const text = "the library has version 1.4.0, the upload server 2.0.0; use the library of the server";
    assert.deepEqual(stage.env.warnings, [text]);
});

test("versions fit by Semantic Versioning", () => {
    const cases = [
        ["1.4.0", "1.0.2", true], ["1.4.0", "11.0.0", false], ["0.1.0", "0.1.7rc1", true], ["0.1.0", "0.2.0", false],
        ["0.1.0", "0.10.0", false], ["0.9.0", "1.0.0", false], ["", "9.0.0", true], ["1.4.0", undefined, true],
    ];
    for (const [own, server, fits] of cases) {
        const { servers, env } = new Stage();
        env.version = own;
        servers.met({ version: server });
        assert.equal(env.warnings.length === 0, fits, `${own} and ${server}`);
    }
});

/** What `hosts` names of a server do for four further connections over HTTP of one upload. */
function spread(hosts) {
    const { page, servers, env } = new Stage();
    delete servers.connect;
    page.set_hostname("https://up.example");
    servers.met({ hosts });
    const problems = [];
    const listener = { welcome: () => {}, closed: (problem) => problems.push(problem) };
    const connect = (further) => {
        const connection = servers.connect("http", "t", null, listener, further);
        connection.open({ session: "s", name: "n", size: 1 });
        return connection;
    };
    const host_of = ({ url }) => new URL(url).host;
    return { servers, env, problems, connect, host_of };
}

test("further connections over HTTP use the server's other names, and those of all uploads are counted", () => {
    const { servers, env, connect, host_of } = spread(["u1.example", "u2.example:8443"]);
    assert.equal(servers.http_connections, 16);
    const first = connect(false);
    assert.equal(host_of(env.request), "up.example");
    const others = Array.from({ length: 12 }, () => connect(true));
    const used = env.requests.map(host_of).sort();
    // The first name has six places in the browser, of which the app gets two and this upload has one.
    const expected = { "u1.example": 5, "u2.example:8443": 5, "up.example": 3 };
    for (const [host, count] of Object.entries(expected)) assert.equal(used.filter((one) => one === host).length, count, host);
    assert.ok(env.requests.every(({ url }) => url.startsWith("https://") && url.endsWith("/incoming/0.1/frontend/upload/t")));
    others[0].close();
    others[0].close();
    first.close();
    connect(true);
    assert.equal(host_of(env.request), "up.example");
});

test("without other names there is one, as a WebSocket always has", () => {
    const { servers, env, connect } = spread(undefined);
    assert.equal(servers.http_connections, 4);
    connect(true);
    connect(true);
    servers.met({ hosts: ["u1.example"] });
    servers.connect("websocket", "t", null, { closed: () => {} }, true).open({});
    assert.deepEqual(env.requests.map(({ url }) => new URL(url).host), ["up.example", "up.example"]);
    assert.equal(new URL(env.socket.url).host, "up.example");
});

test("a name at which no such server answers is left out, and the upload hears of no problem", () => {
    const { servers, env, problems, connect, host_of } = spread(["u1.example", "u2.example"]);
    for (const answer of [[404, { code: 200, message: "unknown ticket", retry: false }], [0, null]]) {
        connect(true);
        env.request.answer(...answer);
    }
    assert.deepEqual(problems, [null, null]);
    assert.equal(servers.http_connections, 4);
    servers.met({ hosts: ["u1.example", "u2.example"] });
    connect(true);
    assert.equal(host_of(env.request), "up.example");
    const refusal = { code: 200, message: "unknown ticket", retry: false };
    env.request.answer(404, refusal);
    assert.equal(problems[2].code, 200);
});

test("after its welcome a name is as good as the first", () => {
    const { servers, env, problems, connect } = spread(["u1.example"]);
    connect(true);
    env.request.answer(200, { ...WELCOME, ping_interval: 20 });
    env.pass(1000);
    env.request.answer(409, { code: 204, message: "taken over", retry: false });
    assert.equal(problems[0]?.code, 204);
    assert.equal(servers.http_connections, 10);
});
