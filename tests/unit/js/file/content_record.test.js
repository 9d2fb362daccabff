import assert from "node:assert/strict";
import test from "node:test";
import { ContentRecord, record_of } from "../../../../incoming/js/file/content_record.js";
import { ChosenFile } from "../../../../incoming/js/file/chosen_file.js";
import { file_of } from "../support/connections.js";
import { FakeEnvironment } from "../support/environment.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK = 256 * KIB;
/** The same where samples are compared. */
const SAMPLED = 4 * MIB;
const changed = (error) => error.problem.code === 1002;
const always = () => true;

/** A disk with one file, whose content tests change, and a record of it. Before a read `before_read` is called. */
class Disk {
    reads = [];
    before_read = () => {};
    /** A read waits for this when it has its bytes. */
    after_read = async () => {};

    constructor(size, { exact = true, chance = 0 } = {}) {
        this.content = new Uint8Array(size);
        for (let i = 0; i < size; i++) this.content[i] = (i * 7 + (i >> 8)) & 255;
        this.size = size;
        this.chosen = this.content.slice();
        this.record = new ContentRecord(this, exact, chance);
    }

    async read(start, end) {
        this.before_read(start, end);
        this.reads.push([start, end]);
        const bytes = this.content.slice(start, end);
        await this.after_read(start, end);
        return bytes;
    }

    slice(start, end) {
        return new Blob([this.content.slice(start, end)]);
    }

    /** What a connection gets. */
    async send(start, end) {
        const part = await this.record.read([start, end]);
        return part instanceof Blob ? new Uint8Array(await part.arrayBuffer()) : part;
    }

    /** How many bytes were read for each byte of the file. */
    get share_read() {
        return this.reads.reduce((sum, [start, end]) => sum + end - start, 0) / this.size;
    }
}

test("what is sent are the bytes of the file, whatever their borders", async () => {
    for (const exact of [true, false]) {
        const disk = new Disk(3 * BLOCK + 17, { exact });
        for (const range of [[0, 1], [5, BLOCK], [BLOCK - 1, BLOCK + 1], [10, disk.size], [disk.size - 1, disk.size]]) {
            assert.deepEqual(await disk.send(...range), disk.chosen.slice(...range));
        }
    }
});

test("a long chunk is read and compared in pieces, so that the page stays responsive", async () => {
    const disk = new Disk(20 * MIB + 5);
    for (const range of [[0, disk.size], [BLOCK + 1, 9 * MIB - 1], [4 * MIB, 12 * MIB], [disk.size - 9 * MIB, disk.size - 1]]) {
        assert.deepEqual(await disk.send(...range), disk.chosen.slice(...range), `${range}`);
    }
    assert.ok(disk.reads.every(([start, end]) => end - start <= 4 * MIB));
    disk.content[11 * MIB] ^= 1;
    await assert.rejects(disk.send(0, disk.size), changed);
});

test("a single bit that changes between a chunk and the end of the file is found", async () => {
    const disk = new Disk(4 * BLOCK);
    await disk.send(0, 3 * BLOCK);
    disk.content[BLOCK + 12_345] ^= 4;
    await assert.rejects(disk.record.seal([[3 * BLOCK, 4 * BLOCK]], always), changed);
    assert.ok(!disk.record.is_sealed([[3 * BLOCK, 4 * BLOCK]]));
});

test("a single bit that changes between the seal and the chunk is found", async () => {
    const disk = new Disk(4 * BLOCK);
    assert.ok(await disk.record.seal([[0, 4 * BLOCK]], always));
    await disk.send(0, 3 * BLOCK);
    disk.content[3 * BLOCK + 5] ^= 1;
    await assert.rejects(disk.send(3 * BLOCK + 1000, 4 * BLOCK), changed);
});

test("a chunk that is sent once more is the same, or is not sent", async () => {
    const disk = new Disk(2 * BLOCK);
    await disk.send(0, 2 * BLOCK);
    assert.deepEqual(await disk.send(100, 200), disk.chosen.slice(100, 200));
    disk.content[150] ^= 1;
    await assert.rejects(disk.send(100, 200), changed);
});

test("what has changed after the seal where it was sent before it does no harm: all that is sent is of one moment", async () => {
    const disk = new Disk(3 * BLOCK);
    await disk.send(0, BLOCK);
    await disk.record.seal([[BLOCK, 3 * BLOCK]], always);
    disk.content[7] ^= 1;
    assert.deepEqual(await disk.send(BLOCK, 3 * BLOCK), disk.chosen.slice(BLOCK));
});

test("whenever the file changes while it is read, what was sent is of one moment or is not complete", async () => {
    for (let moment = 1; moment < 24; moment++) {
        for (const blocks of [[0, 5], [5], [0], [2, 3]]) {
            const disk = new Disk(6 * BLOCK);
            disk.before_read = () => {
                if (disk.reads.length + 1 !== moment) return;
                for (const block of blocks) disk.content[block * BLOCK + 9] ^= 255;
            };
            const sent = new Uint8Array(disk.size);
            try {
                const sealing = disk.record.seal([[0, disk.size]], always);
                sealing.catch(() => {});
                for (let start = 0; start < disk.size - BLOCK; start += BLOCK / 2) sent.set(await disk.send(start, start + BLOCK / 2), start);
                await sealing;
                assert.ok(disk.record.is_sealed([[disk.size - BLOCK, disk.size]]));
                sent.set(await disk.send(disk.size - BLOCK, disk.size), disk.size - BLOCK);
            } catch (error) {
                assert.ok(changed(error), error);
                continue;
            }
            const old = Buffer.compare(sent, disk.chosen) === 0;
            const now = Buffer.compare(sent, disk.content) === 0;
            assert.ok(old || now, `changed at read ${moment}: blocks ${blocks}`);
        }
    }
});

test("a chunk that takes long to read is sent as it was before the seal only if that was still so at the seal", async () => {
    const disk = new Disk(12 * MIB);
    let go_on;
    const held = new Promise((resolve) => (go_on = resolve));
    disk.after_read = (start) => (start === 4 * MIB && held) || Promise.resolve();
    const sending = disk.send(0, 8 * MIB);
    sending.catch(() => {});
    for (let i = 0; i < 10; i++) await null;
    assert.equal(disk.reads.length, 2, "the first piece is there, the second one on its way");
    disk.after_read = async () => {};
    for (const offset of [0, 12 * MIB - 1]) disk.content[offset] ^= 255;
    await assert.rejects(disk.record.seal([[0, disk.size]], always), changed);
    go_on();
    await sending;
    assert.ok(!disk.record.is_sealed([[8 * MIB, 12 * MIB]]));
});

test("no byte is read more than twice, however fast the line is", async () => {
    for (const chunks_between of [0, 1, 5, 1000]) {
        const disk = new Disk(32 * MIB);
        let sent = 0;
        const send = async () => void (sent < disk.size - MIB && (await disk.send(sent, (sent += MIB))));
        let sending = Promise.resolve();
        disk.before_read = (start) => {
            if (start < sent) return;
            sending = sending.then(async () => {
                for (let i = 0; i < chunks_between; i++) await send();
            });
        };
        const sealing = disk.record.seal([[0, disk.size]], always);
        await Promise.all([sealing, sending]);
        while (sent < disk.size - MIB) await send();
        await disk.send(disk.size - MIB, disk.size);
        assert.ok(disk.share_read >= 1.9 && disk.share_read <= 2.2, `${chunks_between}: ${disk.share_read}`);
    }
});

test("blocks that come after the seal are not covered by it", async () => {
    const disk = new Disk(3 * BLOCK);
    await disk.record.seal([[2 * BLOCK, 3 * BLOCK]], always);
    assert.ok(disk.record.is_sealed([[2 * BLOCK, 3 * BLOCK]]));
    assert.ok(disk.record.is_sealed([]));
    const lost_by_the_server = [[0, 100], [2 * BLOCK, 3 * BLOCK]];
    assert.ok(!disk.record.is_sealed(lost_by_the_server));
    await disk.send(2 * BLOCK, 3 * BLOCK);
    disk.content[2 * BLOCK] ^= 1;
    await assert.rejects(disk.record.seal(lost_by_the_server, always), changed);
});

test("a seal that is not wanted any more ends, and can be begun again", async () => {
    const disk = new Disk(40 * MIB);
    let asked = 0;
    assert.equal(await disk.record.seal([[0, disk.size]], () => ++asked < 4), false);
    assert.equal(disk.reads.length, 3);
    assert.ok(!disk.record.is_sealed([[disk.size - 1, disk.size]]));
    assert.ok(await disk.record.seal([[0, disk.size]], always));
    assert.ok(disk.record.is_sealed([[0, disk.size]]));
});

test("of samples, one changed run as long as two blocks does not go unnoticed", async () => {
    for (const chance of [0, 0.3, 0.999]) {
        const disk = new Disk(6 * SAMPLED, { exact: false, chance });
        for (let start = 0; start <= 4 * SAMPLED; start += SAMPLED / 2) {
            await disk.send(0, disk.size);
            const was = disk.content.slice(start, start + 2 * SAMPLED);
            disk.content.fill(1, start, start + 2 * SAMPLED);
            await assert.rejects(disk.record.seal([], always), changed);
            disk.content.set(was, start);
        }
        assert.ok(await disk.record.seal([], always));
        assert.ok(disk.reads.every(([start, end]) => end - start <= 32 * KIB && start >= 0 && end <= disk.size));
    }
});

test("samples are read before the bytes that they vouch for", async () => {
    const disk = new Disk(BLOCK, { exact: false });
    const { slice } = disk;
    const order = [];
    disk.before_read = () => order.push("sample");
    disk.slice = (...range) => order.push("bytes") && slice.apply(disk, range);
    await disk.send(0, 1000);
    assert.deepEqual(order, ["sample", "bytes"]);
});

test("a sample is compared again with the chunk that it is part of", async () => {
    const disk = new Disk(SAMPLED, { exact: false });
    await disk.send(0, MIB);
    await disk.send(MIB, 2 * MIB);
    assert.equal(disk.reads.length, 1);
    disk.content[100] ^= 1;
    await disk.send(2 * MIB, 3 * MIB);
    await assert.rejects(disk.send(0, MIB), changed);
});

test("memory and what is read of large files are bounded", async () => {
    for (const size of [40 * 2 ** 30, 2 ** 45]) {
        let [reads, bytes] = [0, 0];
        const read = async (start, end) => {
            reads++;
            bytes += end - start;
            assert.ok(start >= 0 && end <= size && Number.isSafeInteger(start));
            return new Uint8Array(end - start);
        };
        const record = new ContentRecord({ size, read, slice: () => new Blob() }, false, 0.5);
        assert.ok(await record.seal([[0, size]], always));
        assert.ok(reads <= 512 && bytes <= 16 * MIB, `${reads} ${bytes}`);
    }
});

test("all bytes are compared where the browser may not notice a change, and of small files; else samples", async () => {
    const env = new FakeEnvironment();
    const large = (changes) => Object.defineProperty(file_of(0, changes), "size", { value: 65 * MIB });
    const cases = [
        [0, large(), false],
        [10_000, large(), false],
        [Infinity, large(), true],
        [0, file_of(1000), true],
        [0, large({ lastModified: env.wall() - 9_000 }), false],
        [10_000, large({ lastModified: env.wall() - 9_000 }), true],
        [10_000, large({ lastModified: env.wall() + 3_600_000 }), true],
    ];
    for (const [changes_hidden_for, file, exact] of cases) {
        env.changes_hidden_for = changes_hidden_for;
        const chosen = new ChosenFile(env, file);
        let longest = 0;
        chosen.read = async (start, end) => new Uint8Array((longest = Math.max(longest, end - start)));
        const record = record_of(env, file, chosen);
        await record.seal([[0, file.size]], always);
        assert.equal(longest > 32 * KIB || file.size === longest, exact);
        assert.equal(record_of(env, file, chosen), record, "one for the file");
    }
});
