// How many connections one upload should have: more while that raises the goodput, fewer while that does not lower it.
// Pure: gets each ack and the time in milliseconds; opens and closes nothing.
//
// Every lost packet slows a TCP connection, more so on a longer line (Mathis et al. 1997: rate ~ 1 / (round trip *
// sqrt(loss))), so on a long line many carry what one cannot. Where one fills the line or saturates the processor, more
// only take others' share.

/** A connection that takes this long to set up (about three round trips) is on a long line: begin with many, then prune. */
const LONG_SETUP = 120;
const FIRST_COUNT = 4;
/** Time before a changed number is judged, in which TCP finds its rate. */
const SETTLE_SETUPS = 3;
const SHORTEST_SETTLING = 500;
const SHORTEST_MEASURE = 1000;
/** Fewer acks per connection are not significant. */
const ACKS_PER_CONNECTION = 2;
const ACKS_AT_LEAST = 6;
/** Connections that are not open within this time will not open. */
const GIVE_UP_OPENING = 6000;

/** Part of the ideal gain of n times as many connections that they must bring to stay. */
const WORTH_KEEPING = 0.15;
/** With this part of it the line still scales, and fewer are not tried soon. */
const SCALES = 0.5;
/** Goodput that fewer connections may cost. */
const TOLERATED_LOSS = 0.06;
/** A loss of some hundredths takes longer to measure than a gain by a multiple. */
const LONGER_LOOK = 2;

/** More at once would start simultaneously, and on a full line cause packet loss for all of them. */
const UP = 2;
const DOWN = 0.75;
const HOLD_FIRST = 15_000;
const HOLD_LIMIT = 120_000;

/**
 * @param {{count: number, rate: number}} more
 * @param {{count: number, rate: number}} fewer
 * @returns {number} what more connections have brought, as a part of what they would on an ideal line
 */
const gain = (more, fewer) => (more.rate / fewer.rate - 1) / (more.count / fewer.count - 1);

export class ConcurrencyController {
    /** The wanted number of connections. */
    target = 1;
    #limit = 1;
    #setup = 0;
    /** @type {{count: number, rate: number} | null} result of the number before a probe */
    #reference = null;
    /** @type {{count: number, rate: number} | null} result of a larger number before it was reduced */
    #above = null;
    /** @type {{count: number, rate: number} | null} result of a larger number that was not kept */
    #rejected = null;
    /** @type {"up" | "down" | null} */
    #probe = null;
    /** @type {"up" | "down"} */
    #direction = "up";
    #hold_until = 0;
    #hold = HOLD_FIRST;
    #changed = 0;
    /** @type {{since: number, bytes: number, acks: number} | null} */
    #measure = null;

    /**
     * The first connection is there.
     * @param {number} now
     * @param {number} limit connections at most
     * @param {number} setup milliseconds that it took
     */
    begin(now, limit, setup) {
        this.#limit = limit;
        this.#setup = setup;
        this.#reference = this.#above = this.#rejected = this.#probe = null;
        this.#aim(now, setup >= LONG_SETUP ? limit : Math.min(FIRST_COUNT, limit));
        this.#direction = this.target < limit ? "up" : "down";
        // Young connections are faster than after their first losses: too early to try fewer.
        this.#hold_until = this.#direction === "up" ? 0 : now + this.#hold;
    }

    /**
     * @param {number} now
     * @param {number} limit connections at most, from now on
     */
    obey(now, limit) {
        this.#limit = limit;
        if (this.target <= limit) return;
        this.#reference = this.#above = this.#rejected = this.#probe = null;
        this.#aim(now, limit);
    }

    /**
     * The goodput did not depend on the number of connections: discard what was measured.
     * @param {number} now
     */
    disturb(now) {
        this.#measure = null;
        this.#changed = now;
    }

    /**
     * @param {number} now
     * @param {number} bytes acknowledged
     * @param {number} count connections that are open
     */
    acked(now, bytes, count) {
        if (!this.#settled(now, count)) return;
        if (!this.#measure) {
            this.#measure = { since: now, bytes: 0, acks: 0 };
            return;
        }
        this.#measure.bytes += bytes;
        this.#measure.acks++;
        const elapsed = now - this.#measure.since;
        const enough = Math.max(ACKS_AT_LEAST, ACKS_PER_CONNECTION * count);
        const look = this.#probe === "down" ? LONGER_LOOK : 1;
        if (elapsed < look * Math.max(SHORTEST_MEASURE, SETTLE_SETUPS * this.#setup) || this.#measure.acks < enough) return;
        const rate = (this.#measure.bytes * 1000) / elapsed;
        this.#measure = null;
        this.#judge(now, rate);
    }

    /**
     * @param {number} now
     * @param {number} count
     */
    #settled(now, count) {
        const since = now - this.#changed;
        if (count !== this.target && since > GIVE_UP_OPENING) {
            const found = Math.max(1, count);
            if (found < this.target) this.#limit = found;
            this.#probe = null;
            this.#aim(now, found);
        }
        return count === this.target && since >= Math.max(SHORTEST_SETTLING, SETTLE_SETUPS * this.#setup);
    }

    /**
     * @param {number} now
     * @param {number} rate bytes a second at the present number
     */
    #judge(now, rate) {
        const reference = this.#reference;
        if (this.#probe === "up" && reference) this.#judge_more(now, rate, reference);
        else if (this.#probe === "down" && reference) this.#judge_fewer(now, rate, reference);
        else this.#reference = { count: this.target, rate };
        if (!this.#probe && this.#rejected) this.#judge_again(now, this.#rejected);
        if (!this.#probe && this.#missed(rate)) this.#return_up(now);
        else this.#try_next(now);
    }

    /**
     * @param {number} now
     * @param {number} rate
     * @param {{count: number, rate: number}} reference
     */
    #judge_more(now, rate, reference) {
        const gained = gain({ count: this.target, rate }, reference);
        this.#probe = null;
        if (gained < WORTH_KEEPING) {
            this.#rejected = { count: this.target, rate };
            this.#direction = "down";
            this.#aim(now, reference.count);
            this.#reference = null;
            return;
        }
        this.#reference = { count: this.target, rate };
        const scales = gained >= SCALES;
        this.#direction = scales && this.target < this.#limit ? "up" : "down";
        if (scales && this.target === this.#limit) this.#wait(now);
    }

    /**
     * @param {number} now
     * @param {number} rate
     * @param {{count: number, rate: number}} reference
     */
    #judge_fewer(now, rate, reference) {
        this.#probe = null;
        if (rate >= reference.rate * (1 - TOLERATED_LOSS)) {
            this.#above ??= reference;
            this.#reference = { count: this.target, rate };
            return;
        }
        this.#aim(now, reference.count);
        this.#reference = null;
        this.#direction = "up";
        this.#wait(now);
    }

    /**
     * More were not worth it beside what young connections did; these now may have met their losses since.
     * @param {number} now
     * @param {{count: number, rate: number}} rejected
     */
    #judge_again(now, rejected) {
        if (!this.#reference) return;
        this.#rejected = null;
        if (rejected.count <= this.target || gain(rejected, this.#reference) < WORTH_KEEPING) return;
        this.#direction = "up";
        this.#hold_until = now;
    }

    /**
     * Each step down has cost little, but all together, or with time, they have cost more.
     * @param {number} rate
     */
    #missed(rate) {
        return this.#above !== null && rate < this.#above.rate * (1 - 2 * TOLERATED_LOSS);
    }

    /** @param {number} now */
    #return_up(now) {
        const { count } = /** @type {{count: number}} */ (this.#above);
        this.#above = this.#reference = null;
        this.#direction = "down";
        this.#wait(now);
        this.#aim(now, Math.min(this.#limit, count));
    }

    /** @param {number} now */
    #try_next(now) {
        if (!this.#reference || now < this.#hold_until) return;
        if (this.#direction === "up" && this.target >= this.#limit) this.#direction = "down";
        if (this.#direction === "down" && this.target <= 1) {
            this.#direction = "up";
            this.#wait(now);
            return;
        }
        const count = this.#direction === "up" ? this.target * UP : Math.floor(this.target * DOWN);
        this.#probe = this.#direction;
        this.#aim(now, Math.max(1, Math.min(this.#limit, count)));
    }

    /** @param {number} now */
    #wait(now) {
        this.#hold_until = now + this.#hold;
        this.#hold = Math.min(HOLD_LIMIT, this.#hold * 2);
    }

    /**
     * @param {number} now
     * @param {number} count
     */
    #aim(now, count) {
        this.target = count;
        this.#changed = now;
        this.#measure = null;
    }
}
