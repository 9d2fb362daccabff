import assert from "node:assert/strict";
import test from "node:test";
import { RateMeter, time_left } from "../../../../incoming/js/uploader/rate_meter.js";
import { Stage } from "../support/connections.js";

const MIB = 1 << 20;

test("a steady line is measured as it is, whatever the size of its steps", () => {
    for (const step of [50, 400, 2500]) {
        const meter = new RateMeter();
        for (let now = 0; now <= 20_000; now += step) meter.note(now, now * 100, true);
        assert.ok(Math.abs(meter.rate(20_000) / 100_000 - 1) < 0.02, `steps of ${step} ms: ${meter.rate(20_000)}`);
    }
});

test("the first half second says nothing, a stall lowers the rate by itself, and a pause forgets it", () => {
    const meter = new RateMeter();
    meter.note(0, 0, true);
    meter.note(300, MIB, true);
    assert.equal(meter.rate(300), 0);
    meter.note(1000, 2 * MIB, true);
    assert.equal(meter.rate(1000), 2 * MIB);
    assert.equal(meter.rate(4000), MIB / 2);
    meter.note(5000, 2 * MIB, false);
    assert.equal(meter.rate(5000), 0);
});

test("ten seconds are looked back on, and bytes that the server lost begin it anew", () => {
    const meter = new RateMeter();
    for (let now = 0; now <= 10_000; now += 500) meter.note(now, now * 1000, true);
    for (let now = 10_500; now <= 21_000; now += 500) meter.note(now, 10_000_000 + (now - 10_000) * 10, true);
    assert.ok(Math.abs(meter.rate(21_000) / 10_000 - 1) < 0.1, `${meter.rate(21_000)}`);
    meter.note(22_000, 5, true);
    assert.equal(meter.rate(22_100), 0);
});

test("without a rate nobody knows how long it takes", () => {
    assert.deepEqual([time_left(100, 0), time_left(100, 50), time_left(0, 50)], [null, 2, 0]);
});

test("an uploader's rate and time left follow its bytes, also behind a Proxy, and end with the transfer", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(64 * MIB);
    assert.deepEqual([uploader.rate, uploader.eta], [0, null]);
    for (let second = 0; second < 4; second++) {
        stage.env.time += 1000;
        connection.ack(connection.chunks.splice(0, 1));
    }
    const { rate, eta, bytes_acked } = new Proxy(uploader, {});
    assert.equal(rate, bytes_acked / 4);
    assert.equal(eta, (64 * MIB - bytes_acked) / rate);
    assert.deepEqual([uploader.snapshot().rate, uploader.snapshot().eta], [rate, eta]);
    uploader.pause("pause");
    assert.deepEqual([uploader.rate, uploader.eta, uploader.snapshot().rate], [0, null, 0]);
});
