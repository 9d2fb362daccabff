import assert from "node:assert/strict";
import test from "node:test";
import { TokenBucket } from "../../../../incoming/js/pool/token_bucket.js";

/** Sends as soon as it may, always as much as it may. */
function bytes_sent(bucket, seconds, size) {
    let sent = 0;
    for (let now = 0; now < seconds * 1000; ) {
        const wait = bucket.wait(now);
        now += wait;
        if (wait) continue;
        const portion = bucket.portion(size);
        bucket.spend(portion);
        sent += portion;
    }
    return sent;
}

test("without a rate everything may go at once", () => {
    const bucket = new TokenBucket(() => [0, 0]);
    bucket.spend(1e9);
    assert.deepEqual([bucket.wait(0), bucket.portion(8e6), bucket.binding], [0, 8e6, false]);
});

for (const rate of [10_000, 1_000_000, 50_000_000]) {
    test(`holds to ${rate} bytes a second, whatever the size of the chunks`, () => {
        for (const size of [65_536, 8_388_608]) {
            const sent = bytes_sent(new TokenBucket(() => [rate]), 60, size);
            assert.ok(sent <= 61.5 * rate && sent >= 58 * rate, `${sent / rate} s worth`);
        }
    });
}

test("portions are half a second, so that the flow is even", () => {
    const bucket = new TokenBucket(() => [0, 1_000_000, 2_000_000]);
    assert.equal(bucket.portion(8e6), 500_000);
    assert.equal(bucket.portion(100), 100);
    assert.equal(new TokenBucket(() => [1]).portion(8e6), 16 * 1024);
});

test("a pause earns no more than a short burst", () => {
    const bucket = new TokenBucket(() => [1000]);
    bucket.wait(3_600_000);
    bucket.spend(501);
    assert.ok(bucket.wait(3_600_000) > 0);
    assert.ok(bucket.binding);
});

test("a rate that is changed or lifted holds from then on", () => {
    let rate = 1000;
    const bucket = new TokenBucket(() => [rate]);
    bucket.wait(0);
    bucket.spend(10_000);
    rate = 10_000;
    assert.equal(bucket.wait(0), 1000);
    rate = 0;
    assert.equal(bucket.wait(0), 0);
});
