/*! Incoming!! browser library, MIT licence */
"use strict";
var incoming = (() => {
  var __defProp = Object.defineProperty;
  var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
  var __getOwnPropNames = Object.getOwnPropertyNames;
  var __hasOwnProp = Object.prototype.hasOwnProperty;
  var __export = (target, all) => {
    for (var name in all)
      __defProp(target, name, { get: all[name], enumerable: true });
  };
  var __copyProps = (to, from, except, desc) => {
    if (from && typeof from === "object" || typeof from === "function") {
      for (let key of __getOwnPropNames(from))
        if (!__hasOwnProp.call(to, key) && key !== except)
          __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
    }
    return to;
  };
  var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

  // index.js
  var index_exports = {};
  __export(index_exports, {
    Uploader: () => Uploader2,
    continue_upload: () => continue_upload,
    forget: () => forget,
    match: () => match,
    set_remember: () => set_remember,
    set_server_hostname: () => set_server_hostname,
    set_transport: () => set_transport,
    unfinished: () => unfinished
  });

  // page/environment.js
  function browser() {
    const scope = globalThis;
    const navigator = scope.navigator;
    return {
      now: () => performance.now(),
      wall: () => Date.now(),
      after: (milliseconds, action) => setTimeout(action, milliseconds),
      stop: (timer) => clearTimeout(timer),
      random: () => Math.random(),
      open_socket: (url, protocol) => new WebSocket(url, protocol),
      new_request: () => new XMLHttpRequest(),
      storage: absent_if_refused(() => scope.localStorage),
      databases: absent_if_refused(() => scope.indexedDB),
      crypto: scope.crypto?.subtle ?? null,
      page: typeof scope.addEventListener === "function" ? scope : null,
      document: scope.document ?? null,
      wake_lock: navigator?.wakeLock ?? null,
      beacon: navigator?.sendBeacon ? (url, message) => navigator.sendBeacon(url, message) : null
    };
  }
  function absent_if_refused(get) {
    try {
      return get() ?? null;
    } catch {
      return null;
    }
  }

  // transport/urls.js
  var FRONTEND = "/incoming/0.1/frontend/";
  function frontend_url(hostname, place) {
    const [, scheme, host, path] = /^\s*(?:(\w+):)?(?:\/\/)?([^/\s]*)([^?#\s]*)/.exec(with_scheme_apart(hostname)) ?? [];
    const secure = scheme ? /^(https|wss)$/i.test(scheme) : place.page_protocol !== "http:";
    const prefix = (path ?? "").replace(/\/+$/, "");
    return `${secure ? "https" : "http"}://${host || place.page_host}${prefix ? prefix + FRONTEND : script_folder(place)}`;
  }
  function with_scheme_apart(hostname) {
    return /^\s*(\w+:)?\/\//.test(hostname) ? hostname : "//" + hostname.trim();
  }
  function script_folder(place) {
    const match2 = /^[\w+.-]+:\/\/[^/]*(\/[^?#]*\/frontend\/)incoming\.m?js(?:[?#]|$)/.exec(place.script ?? "");
    return match2?.[1] ?? FRONTEND;
  }
  function websocket_url(frontend, ticket) {
    return `${frontend.replace(/^http/, "ws")}upload_ws?ticket=${encodeURIComponent(ticket)}`;
  }
  function upload_url(frontend, ticket) {
    return `${frontend}upload/${encodeURIComponent(ticket)}`;
  }

  // session/backoff.js
  var FIRST = 300;
  var LIMIT = 3e4;
  var SHORTEST = 20;
  var Backoff = class {
    #random;
    #ceiling = FIRST;
    /** @param {() => number} random from 0 to 1 */
    constructor(random) {
      this.#random = random;
    }
    /**
     * @param {number | null} [wanted] seconds that the server asked us to wait
     * @returns {number} milliseconds until the next attempt
     */
    next(wanted = null) {
      const delay = Math.max(SHORTEST, this.#ceiling * this.#random());
      this.#ceiling = Math.min(LIMIT, this.#ceiling * 2);
      if (wanted === null) return delay;
      return wanted * 1e3 * (1 + 0.25 * this.#random());
    }
    /** Progress was made: the next failure is a first one again. */
    reset() {
      this.#ceiling = FIRST;
    }
  };

  // transport/messages.js
  var SUBPROTOCOL = "incoming.1";
  var CHUNK_HEADER_SIZE = 16;
  var CHUNK_VERSION = 1;
  var MAX_TEXT = 1024;
  var MAX_MEDIA_TYPE = 255;
  var shortened = (text) => text.slice(0, MAX_TEXT);
  function hello(greeting) {
    const media_type = greeting.media_type?.slice(0, MAX_MEDIA_TYPE);
    return JSON.stringify({ type: "hello", ...greeting, name: shortened(greeting.name), media_type });
  }
  function pause(epoch) {
    return JSON.stringify({ type: "pause", epoch });
  }
  function cancel(reason) {
    return JSON.stringify({ type: "cancel", reason: shortened(reason) });
  }
  var PING = JSON.stringify({ type: "ping" });
  var PONG = JSON.stringify({ type: "pong" });
  function chunk_header(offset) {
    const header = new ArrayBuffer(CHUNK_HEADER_SIZE);
    const view = new DataView(header);
    view.setUint8(0, CHUNK_VERSION);
    view.setUint32(8, Math.floor(offset / 2 ** 32));
    view.setUint32(12, offset % 2 ** 32);
    return header;
  }
  function parse(data) {
    const message = parse_object(data);
    switch (message?.type) {
      case "welcome":
        return parse_welcome(message);
      case "ack":
        return well_formed(message.chunks) ? message : null;
      case "state":
        return typeof message.state === "string" ? { ...message, reason: message.reason || "" } : null;
      case "error":
        return { ...message, ...problem(message) };
      case "paused":
      case "ping":
      case "pong":
        return message;
    }
    return null;
  }
  function parse_welcome(message) {
    if (message?.type !== "welcome" || !well_formed(message.extents) || !Number.isSafeInteger(message.epoch)) return null;
    return message;
  }
  function problem(message) {
    return {
      code: Number.isSafeInteger(message.code) ? message.code : 0,
      message: String(message.message || "the upload server reported an error"),
      retry: message.retry === true,
      retry_after: typeof message.retry_after === "number" ? message.retry_after : null
    };
  }
  function parse_object(text) {
    if (typeof text !== "string") return null;
    try {
      const value = JSON.parse(text);
      return typeof value === "object" ? value : null;
    } catch {
      return null;
    }
  }
  function is_receiving(state) {
    return state === "new" || state === "uploading";
  }
  function reason_follows(state) {
    return state === "cancelled" || state === "failed";
  }
  function has_arrived(state) {
    return state === "arrived" || state === "handing_over" || state === "waiting" || state === "finished";
  }
  function session_name(random) {
    return Array.from({ length: 24 }, () => Math.floor(random() * 36).toString(36)).join("");
  }
  function well_formed(ranges) {
    const is_range = (range) => Array.isArray(range) && Number.isSafeInteger(range[0]) && Number.isSafeInteger(range[1]) && range[0] < range[1];
    return Array.isArray(ranges) && ranges.every(is_range);
  }

  // transport/http_request.js
  function request(env, { method, url, body = null, headers = {}, on_sent }, done) {
    const xhr = env.new_request();
    let over = false;
    xhr.open(method, url);
    xhr.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (on_sent) xhr.upload.onprogress = on_sent;
    xhr.onloadend = () => {
      if (!over) done(answer(xhr));
    };
    xhr.send(body);
    return () => {
      over = true;
      xhr.abort();
    };
  }
  function answer(xhr) {
    const json = xhr.status ? parse_object(xhr.responseText) : null;
    const is_error = xhr.status >= 400 && Number.isSafeInteger(json?.code);
    const seconds = Number(xhr.status ? xhr.getResponseHeader("Retry-After") : null);
    return {
      status: xhr.status,
      json,
      problem: is_error ? problem(json) : null,
      retry_after: seconds > 0 ? seconds : null
    };
  }

  // page/cancel_outbox.js
  var KEY = "incoming.cancel.";
  var UNDELIVERABLE_AFTER = 14 * 24 * 3600 * 1e3;
  var TRY_LATER = /* @__PURE__ */ new Set([408, 425, 429]);
  var CancelOutbox = class {
    #page;
    /** @type {Map<string, Letter>} */
    #letters = /* @__PURE__ */ new Map();
    #backoff;
    /** @type {unknown} */
    #timer = null;
    #travelling = false;
    /** @param {import("./page_context.js").PageContext} page */
    constructor(page2) {
      this.#page = page2;
      this.#backoff = new Backoff(page2.env.random);
    }
    /** Takes up what earlier page loads have left. */
    resume() {
      for (const [ticket, letter] of this.#page.store.entries(KEY)) {
        if (this.#page.env.wall() - letter.since > UNDELIVERABLE_AFTER) this.#page.store.remove(KEY + ticket);
        else this.#letters.set(ticket, letter);
      }
      this.#deliver();
    }
    /**
     * @param {string} ticket
     * @param {string} reason
     */
    cancel(ticket, reason) {
      const letter = { frontend: this.#page.frontend, reason, since: this.#page.env.wall() };
      this.#letters.set(ticket, letter);
      this.#page.store.set(KEY + ticket, letter);
      this.#deliver();
    }
    /** The network may be back. */
    revive() {
      this.#page.env.stop(this.#timer);
      this.#deliver();
    }
    /** The page closes: the browser carries a last message each, without telling what has become of it. */
    part() {
      for (const [ticket, { frontend, reason }] of this.#letters) {
        this.#page.env.beacon?.(upload_url(frontend, ticket), cancel(reason));
      }
    }
    #deliver() {
      const [first] = this.#letters;
      if (!first || this.#travelling) return;
      const [ticket, { frontend, reason }] = first;
      this.#travelling = true;
      const message = { method: "POST", url: upload_url(frontend, ticket), body: cancel(reason) };
      request(this.#page.env, message, ({ status }) => {
        this.#travelling = false;
        this.#letters.delete(ticket);
        if (status === 0 || status >= 500 || TRY_LATER.has(status)) {
          this.#letters.set(ticket, { frontend, reason, since: first[1].since });
          this.#timer = this.#page.env.after(this.#backoff.next(), () => this.#deliver());
          return;
        }
        this.#page.store.remove(KEY + ticket);
        this.#backoff.reset();
        this.#deliver();
      });
    }
  };

  // page/file_handles.js
  var DATABASE = "incoming";
  var STORE = "handles";
  var FileHandles = class {
    #databases;
    /** @param {IDBFactory | null} databases */
    constructor(databases) {
      this.#databases = databases;
    }
    /**
     * @param {string} ticket
     * @param {FileSystemFileHandle} handle
     * @returns {Promise<boolean>} whether it was kept
     */
    async keep(ticket, handle) {
      const key = await this.#transact("readwrite", (store) => store.put(handle, ticket));
      return key === ticket;
    }
    /**
     * @param {string} ticket
     * @returns {Promise<FileSystemFileHandle | null>}
     */
    async find(ticket) {
      const handle = await this.#transact("readonly", (store) => store.get(ticket));
      return handle ?? null;
    }
    /** @param {string} ticket */
    async remove(ticket) {
      await this.#transact("readwrite", (store) => store.delete(ticket));
    }
    /**
     * @template T
     * @param {IDBTransactionMode} mode
     * @param {(store: IDBObjectStore) => IDBRequest<T>} act
     * @returns {Promise<T | null>} null when there is no storage
     */
    async #transact(mode, act) {
      try {
        const opening = this.#databases?.open(DATABASE, 1);
        if (!opening) return null;
        opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
        const database = await settled(opening);
        try {
          return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
        } finally {
          database.close();
        }
      } catch {
        return null;
      }
    }
  };
  function settled(request2) {
    return new Promise((resolve, reject) => {
      request2.onsuccess = () => resolve(request2.result);
      request2.onerror = () => reject(request2.error);
    });
  }

  // transport/errors.js
  var MESSAGE_TOO_LARGE = 103;
  var UNKNOWN_TICKET = 200;
  var TAKEN_OVER = 204;
  var WRONG_STATE = 300;
  var ALREADY_COMPLETE = 301;
  var UPLOAD_CANCELLED = 302;
  var HANDOVER_FAILED = 303;
  var FILE_UNREADABLE = 1001;
  var FILE_CHANGED_WHILE_READING = 1002;
  var BAD_ARGUMENT = 1003;
  var SERVER_UNAVAILABLE = 1004;
  var ASK_AGAIN = /* @__PURE__ */ new Set([WRONG_STATE, ALREADY_COMPLETE, UPLOAD_CANCELLED, HANDOVER_FAILED]);
  var TICKET_IS_OVER = /* @__PURE__ */ new Set([UNKNOWN_TICKET, TAKEN_OVER, UPLOAD_CANCELLED, HANDOVER_FAILED]);
  function fatal(code, message) {
    return { code, message, retry: false, retry_after: null };
  }
  function from_close_code(close_code) {
    if (close_code <= 4e3 || close_code > 4999) return null;
    const code = close_code - 4e3;
    return { code, message: `the upload server closed the connection with error ${code}`, retry: code >= 500, retry_after: null };
  }

  // transport/http_connection.js
  var ANSWER_WITHIN = 1e4;
  var IDLE = 400;
  var LONG_POLL_SECONDS = 25;
  var STATUS_WITHIN = 5e3;
  var CHECK_AGAIN_AFTER = 3e3;
  var SILENCE = 2.5;
  var HttpConnection = class {
    /** @type {"http"} */
    kind = "http";
    depth = 1;
    buffered = 0;
    #env;
    #target;
    #url;
    #listener;
    #session = "";
    #epoch = 0;
    #total = 0;
    /** @type {State} */
    #state = "uploading";
    #silence_allowed = 0;
    #alive_at = 0;
    #open = true;
    #welcomed = false;
    /** @type {(() => void) | null} aborts the request under way */
    #abort = null;
    /** @type {(() => void) | null} aborts the question whether the server is there */
    #abort_question = null;
    /** @type {unknown} */
    #timer = null;
    #sending = false;
    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./connection.js").Target} target
     * @param {import("./connection.js").Listener} listener
     */
    constructor(env, target, listener) {
      this.#env = env;
      this.#target = target;
      this.#url = upload_url(target.frontend, target.ticket);
      this.#listener = listener;
    }
    /** @param {messages.Hello} greeting */
    open(greeting) {
      this.#session = greeting.session;
      this.#total = greeting.size;
      this.#ask({ method: "POST", body: hello(greeting) }, ANSWER_WITHIN, (answer2) => {
        const welcome = parse_welcome(answer2.json);
        if (!welcome) return this.#failed(answer2);
        this.#welcomed = true;
        this.#epoch = welcome.epoch;
        this.#silence_allowed = welcome.ping_interval * 1e3 * SILENCE;
        if (is_receiving(welcome.state)) this.#rest();
        this.#listener.welcome(welcome);
        if (this.#open && !is_receiving(welcome.state)) this.#watch(0);
      });
    }
    /** @param {Range} chunk */
    async send([start, end]) {
      this.#stop();
      this.#sending = true;
      const slice = this.#target.file.slice(start, end);
      const body = this.#target.as_blobs() ? slice : await slice.arrayBuffer().catch(() => null);
      if (!this.#open) return;
      if (!body) return this.#closed(null);
      const url = `${this.#url}?session=${this.#session}&epoch=${this.#epoch}`;
      const headers = { "Content-Range": `bytes ${start}-${end - 1}/${this.#total}`, "Content-Type": "application/octet-stream" };
      const on_sent = () => this.#alive();
      this.#alive();
      this.#abort = request(this.#env, { method: "PUT", url, body, headers, on_sent }, (answer2) => {
        this.#stop();
        this.#stored([start, end], answer2);
      });
      this.#watch_progress();
    }
    pause() {
      this.close();
      request(this.#env, { method: "POST", url: this.#url, body: pause(this.#epoch) }, () => {
      });
    }
    /** @param {string} reason */
    cancel(reason) {
      this.#ask({ method: "POST", body: cancel(reason) }, ANSWER_WITHIN, (answer2) => this.#news(answer2));
    }
    check() {
      if (!this.#welcomed) return;
      if (this.#sending) this.#doubt();
      else this.#watch(0);
    }
    close() {
      this.#stop();
      this.#open = false;
    }
    /**
     * @param {Range} chunk
     * @param {Answer} answer
     */
    #stored(chunk, answer2) {
      const { status, json, problem: problem2 } = answer2;
      if (status === 413 && (!problem2 || problem2.code === MESSAGE_TOO_LARGE)) {
        this.#rest();
        this.#listener.too_large(chunk);
      } else if (status === 308 || status === 200 && json?.state) {
        this.#rest();
        if (json) this.#tell(json);
        this.#listener.ack([chunk]);
        if (json && this.#open && !this.#sending) this.#watch(LONG_POLL_SECONDS);
      } else {
        this.#failed(answer2);
      }
    }
    /** Nothing to send: after a moment, ask for news until there is. */
    #rest() {
      this.#wait(IDLE, () => this.#watch(LONG_POLL_SECONDS));
    }
    /** @param {number} seconds that the server may wait for news */
    #watch(seconds) {
      const query = `?wait=${seconds}&state=${this.#state}`;
      this.#ask({ method: "GET", query }, seconds * 1e3 + ANSWER_WITHIN, (answer2) => this.#news(answer2));
    }
    /** @param {Answer} answer */
    #news(answer2) {
      if (answer2.status !== 200 || !answer2.json?.state) return this.#failed(answer2);
      this.#tell(answer2.json);
      if (!this.#open || this.#sending) return;
      if (is_receiving(this.#state)) this.#rest();
      else this.#watch(LONG_POLL_SECONDS);
    }
    /** @param {any} status of the upload, as JSON */
    #tell(status) {
      if (is_receiving(status.state) || status.state === this.#state && !status.reason) return;
      this.#state = status.state;
      this.#listener.state({ state: status.state, reason: status.reason || "", code: status.code ?? null });
    }
    #alive() {
      this.#alive_at = this.#env.now();
    }
    #watch_progress() {
      this.#wait(this.#silence_allowed / 5, () => {
        if (this.#env.now() - this.#alive_at > this.#silence_allowed) this.#doubt();
        else this.#watch_progress();
      });
    }
    /**
     * Nothing was heard of the piece for long. Bodies are stored as they arrive, so the server knows whether bytes still
     * come: a slow line is left alone, a dead one is not waited for.
     */
    #doubt() {
      const heard = this.#alive_at;
      this.#question((before) => {
        this.#wait(CHECK_AGAIN_AFTER, () => this.#question((after) => {
          if (after > before) {
            this.#alive();
            this.#watch_progress();
          } else if (this.#alive_at > heard) {
            this.#doubt();
          } else {
            this.#closed(null);
          }
        }));
      });
    }
    /** @param {(arrived: number) => void} done with the bytes that the server has of this upload */
    #question(done) {
      this.#wait(STATUS_WITHIN, () => this.#closed(null));
      this.#abort_question?.();
      this.#abort_question = request(this.#env, { method: "GET", url: this.#url }, ({ status, json }) => {
        if (status === 200 && Number.isSafeInteger(json?.arrived)) done(json.arrived);
        else this.#closed(null);
      });
    }
    /**
     * @param {{method: string, query?: string, body?: string}} what
     * @param {number} within milliseconds
     * @param {(answer: Answer) => void} done
     */
    #ask({ method, query = "", body }, within, done) {
      this.#stop();
      this.#abort = request(this.#env, { method, url: this.#url + query, body }, (answer2) => {
        this.#stop();
        done(answer2);
      });
      this.#wait(within, () => this.#closed(null));
    }
    /** @param {Answer} answer */
    #failed({ status, problem: problem2, retry_after }) {
      if (problem2 || status === 0) return this.#closed(problem2 && { ...problem2, retry_after: problem2.retry_after ?? retry_after });
      const message = `the upload server cannot be reached at the moment (HTTP status ${status})`;
      this.#closed({ code: SERVER_UNAVAILABLE, message, retry: true, retry_after });
    }
    /** @param {Problem | null} problem */
    #closed(problem2) {
      this.close();
      this.#listener.closed(problem2);
    }
    /** Ends whatever is under way. */
    #stop() {
      this.#env.stop(this.#timer);
      this.#abort?.();
      this.#abort_question?.();
      this.#abort = this.#abort_question = null;
      this.#sending = false;
    }
    /**
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
      this.#env.stop(this.#timer);
      this.#timer = this.#env.after(milliseconds, action);
    }
  };

  // page/local_store.js
  var LocalStore = class {
    #storage;
    /** Whether anything new is remembered. */
    enabled = true;
    /** @param {Storage | null} storage */
    constructor(storage) {
      this.#storage = storage;
    }
    /**
     * @param {string} key
     * @param {unknown} value
     */
    set(key, value) {
      if (!this.enabled) return;
      this.#attempt((storage) => storage.setItem(key, JSON.stringify(value)));
    }
    /** @param {string} key */
    remove(key) {
      this.#attempt((storage) => storage.removeItem(key));
    }
    /**
     * @param {string} prefix
     * @returns {[string, any][]} what is behind the prefix in the key, and the value
     */
    entries(prefix) {
      const found = [];
      this.#attempt((storage) => {
        for (let i = 0; i < storage.length; i++) {
          const key = storage.key(i) ?? "";
          const value = key.startsWith(prefix) ? parsed(storage.getItem(key)) : null;
          if (value) found.push([key.slice(prefix.length), value]);
        }
      });
      return found;
    }
    /** @param {(storage: Storage) => void} action */
    #attempt(action) {
      try {
        if (this.#storage) action(this.#storage);
      } catch {
      }
    }
  };
  function parsed(text) {
    try {
      const value = JSON.parse(text ?? "null");
      return typeof value === "object" ? value : null;
    } catch {
      return null;
    }
  }

  // page/connectivity_events.js
  var TICK = 5e3;
  var SLEPT = 2e4;
  var ConnectivityEvents = class {
    #env;
    #revive;
    /** @type {unknown} */
    #timer = null;
    #ticked = 0;
    /**
     * @param {import("./environment.js").Environment} env
     * @param {(doubtful: boolean) => void} revive told whether connections may have died unnoticed
     */
    constructor(env, revive) {
      this.#env = env;
      this.#revive = revive;
      env.page?.addEventListener("online", () => revive(true));
      env.page?.addEventListener("pageshow", () => revive(false));
      env.document?.addEventListener("visibilitychange", () => {
        if (env.document?.visibilityState === "visible") revive(false);
      });
    }
    /** @param {boolean} wanted whether anything is under way that sleep could hurt */
    watch_sleep(wanted) {
      if (wanted === (this.#timer !== null)) return;
      this.#env.stop(this.#timer);
      this.#timer = null;
      if (wanted) this.#tick();
    }
    #tick() {
      this.#ticked = this.#env.wall();
      this.#timer = this.#env.after(TICK, () => {
        const slept = this.#env.wall() - this.#ticked > TICK + SLEPT;
        this.#tick();
        if (slept) this.#revive(true);
      });
    }
  };

  // page/unfinished_uploads.js
  var KEY2 = "incoming.upload.";
  var FORGOTTEN_AFTER = 30 * 24 * 3600 * 1e3;
  var WRITE_EVERY = 2e3;
  var UnfinishedUploads = class {
    #page;
    /** @type {Map<string, number>} when which ticket was last written */
    #written = /* @__PURE__ */ new Map();
    /** @param {import("./page_context.js").PageContext} page */
    constructor(page2) {
      this.#page = page2;
    }
    /** @returns {UnfinishedUpload[]} of the server in use, the latest first */
    list() {
      const { store, env, frontend } = this.#page;
      const found = [];
      for (
        const [ticket, entry] of
        /** @type {[string, Entry][]} */
        store.entries(KEY2)
      ) {
        if (env.wall() - entry.last_activity > FORGOTTEN_AFTER) this.forget(ticket);
        else if (entry.frontend === frontend) found.push({ ticket, ...without_frontend(entry) });
      }
      return found.sort((a, b) => b.last_activity - a.last_activity);
    }
    /**
     * @param {File} file
     * @returns {UnfinishedUpload | null} the unfinished upload of a file with this name, size and modification time
     */
    match(file) {
      const same = (entry) => entry.name === file.name && entry.size === file.size && entry.last_modified === file.lastModified;
      return this.list().find(same) ?? null;
    }
    /**
     * @param {string} ticket
     * @param {File} file
     * @param {{bytes_acked: number, can_continue: boolean}} progress
     * @param {boolean} at_once even if it was noted a moment ago
     */
    note(ticket, file, { bytes_acked, can_continue }, at_once) {
      const now = this.#page.env.wall();
      if (!at_once && Math.abs(now - (this.#written.get(ticket) ?? 0)) < WRITE_EVERY) return;
      this.#written.set(ticket, now);
      const entry = {
        frontend: this.#page.frontend,
        name: file.name,
        size: file.size,
        last_modified: file.lastModified,
        bytes_acked,
        last_activity: now,
        can_continue
      };
      this.#page.store.set(KEY2 + ticket, entry);
    }
    forget_all() {
      for (const [ticket] of this.#page.store.entries(KEY2)) this.forget(ticket);
    }
    /** @param {string} ticket */
    forget(ticket) {
      this.#written.delete(ticket);
      this.#page.store.remove(KEY2 + ticket);
      this.#page.handles.remove(ticket);
    }
  };
  function without_frontend({ name, size, last_modified, bytes_acked, last_activity, can_continue }) {
    return { name, size, last_modified, bytes_acked, last_activity, can_continue };
  }

  // page/wake_lock.js
  var WakeLock = class {
    #env;
    #wanted = false;
    /** @type {Promise<{release(): Promise<void>} | null> | null} */
    #lock = null;
    /** @param {import("./environment.js").Environment} env */
    constructor(env) {
      this.#env = env;
      env.document?.addEventListener("visibilitychange", () => {
        if (env.document?.visibilityState !== "visible") return;
        this.#release();
        this.hold(this.#wanted);
      });
    }
    /** @param {boolean} wanted */
    hold(wanted) {
      this.#wanted = wanted;
      if (!wanted) return this.#release();
      this.#lock ??= Promise.resolve(this.#env.wake_lock?.request("screen") ?? null).catch(() => null);
    }
    #release() {
      this.#lock?.then((lock) => lock?.release()).catch(() => {
      });
      this.#lock = null;
    }
  };

  // transport/websocket_connection.js
  var OPEN_WITHIN = 1e4;
  var WELCOME_WITHIN = 5e3;
  var LINGER = 2e3;
  var CHECK_WITHIN = 4e3;
  var SILENCE2 = 2.5;
  var WebSocketConnection = class {
    /** @type {"websocket"} */
    kind = "websocket";
    depth = Infinity;
    #env;
    #target;
    #listener;
    /** @type {WebSocket | null} */
    #socket = null;
    /** @type {unknown} */
    #timer = null;
    /** @type {Problem | null} */
    #problem = null;
    #welcomed = false;
    #pausing = false;
    #heard = 0;
    #buffered = 0;
    #silence_allowed = 0;
    /** Chunks that are still being read while later ones wait: the order on the wire is the order of `send`. */
    #reading = Promise.resolve();
    /**
     * @param {Environment} env
     * @param {Target} target
     * @param {Listener} listener
     */
    constructor(env, target, listener) {
      this.#env = env;
      this.#target = target;
      this.#listener = listener;
    }
    get buffered() {
      return this.#socket?.bufferedAmount ?? 0;
    }
    /** @param {messages.Hello} greeting */
    open(greeting) {
      let socket;
      try {
        const url = websocket_url(this.#target.frontend, this.#target.ticket);
        socket = this.#env.open_socket(url, SUBPROTOCOL);
      } catch {
        this.#wait(0, () => this.#closed());
        return;
      }
      this.#socket = socket;
      socket.onopen = () => {
        socket.send(hello(greeting));
        this.#wait(WELCOME_WITHIN, () => this.#closed());
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => {
        this.#problem ??= from_close_code(event.code);
        this.#closed();
      };
      this.#wait(OPEN_WITHIN, () => this.#closed());
    }
    /** @param {Range} chunk */
    send([start, end]) {
      const header = chunk_header(start);
      const slice = this.#target.file.slice(start, end);
      if (this.#target.as_blobs()) {
        this.#socket?.send(new Blob([header, slice]));
        return;
      }
      const data = slice.arrayBuffer();
      this.#reading = this.#reading.then(async () => {
        const chunk = new Uint8Array(header.byteLength + end - start);
        chunk.set(new Uint8Array(header));
        chunk.set(new Uint8Array(await data), header.byteLength);
        this.#socket?.send(chunk);
      });
      this.#reading.catch(() => this.#closed());
    }
    pause() {
      if (!this.#welcomed) return this.close();
      this.#pausing = true;
      this.#socket?.send(pause());
      this.#wait(LINGER, () => this.close());
    }
    /** @param {string} reason */
    cancel(reason) {
      this.#socket?.send(cancel(reason));
    }
    check() {
      if (!this.#welcomed) return;
      this.#socket?.send(PING);
      this.#expect(this.#env.now(), this.buffered);
    }
    /**
     * Waits for a word of the server, as long as at least bytes leave the browser.
     * @param {number} asked
     * @param {number} buffered
     */
    #expect(asked, buffered) {
      this.#wait(CHECK_WITHIN, () => {
        if (this.#heard > asked) this.#watch();
        else if (this.buffered < buffered) this.#expect(asked, this.buffered);
        else this.#closed();
      });
    }
    close() {
      this.#env.stop(this.#timer);
      const socket = this.#socket;
      if (!socket) return;
      this.#socket = null;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1e3);
    }
    /** @param {unknown} data */
    #receive(data) {
      this.#heard = this.#env.now();
      const message = parse(data);
      if (this.#pausing) {
        if (message?.type === "paused") this.close();
        return;
      }
      switch (message?.type) {
        case "welcome":
          this.#welcomed = true;
          this.#silence_allowed = message.ping_interval * 1e3 * SILENCE2;
          this.#watch();
          this.#listener.welcome(message);
          break;
        case "ack":
          this.#listener.ack(message.chunks);
          break;
        case "state":
          this.#listener.state({ state: message.state, reason: message.reason, code: message.code });
          break;
        case "ping":
          this.#socket?.send(PONG);
          break;
        case "error":
          this.#problem = problem(message);
          this.#closed();
      }
    }
    /**
     * Bytes that leave the browser are a sign of life as well as a message: on a slow line an ack, and a pong behind
     * the data, can take minutes.
     */
    #watch() {
      this.#wait(this.#silence_allowed / 10, () => {
        const now = this.#env.now();
        if (this.buffered < this.#buffered) this.#heard = now;
        this.#buffered = this.buffered;
        if (now - this.#heard > this.#silence_allowed) this.#closed();
        else this.#watch();
      });
    }
    #closed() {
      this.close();
      if (!this.#pausing) this.#listener.closed(this.#problem);
    }
    /**
     * The one timer of this connection: what it waits for at present.
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
      this.#env.stop(this.#timer);
      this.#timer = this.#env.after(milliseconds, action);
    }
  };

  // page/page_context.js
  var PageContext = class {
    /** @type {import("../session/transport_selector.js").TransportMemory} */
    transports = { wanted: "auto", websocket_works: false, blobs_fail: false };
    hostname = "";
    #place;
    /** @type {Set<Upload>} */
    #running = /* @__PURE__ */ new Set();
    /** @type {Set<Upload>} */
    #sending = /* @__PURE__ */ new Set();
    /**
     * @param {Environment} env
     * @param {import("../transport/urls.js").Place} place
     */
    constructor(env, place) {
      this.env = env;
      this.#place = place;
      this.store = new LocalStore(env.storage);
      this.handles = new FileHandles(env.databases);
      this.unfinished = new UnfinishedUploads(this);
      this.outbox = new CancelOutbox(this);
      this.wake_lock = new WakeLock(env);
      this.events = new ConnectivityEvents(env, (doubtful) => this.#revive(doubtful));
      env.page?.addEventListener("pagehide", () => this.#part());
    }
    /** URL of the server's frontend, with a slash at its end. */
    get frontend() {
      return frontend_url(this.hostname, this.#place);
    }
    /**
     * @param {"websocket" | "http"} kind
     * @param {string} ticket
     * @param {File} file
     * @param {Listener} listener
     * @returns {Connection}
     */
    connect(kind, ticket, file, listener) {
      const target = { frontend: this.frontend, ticket, file, as_blobs: () => !this.transports.blobs_fail };
      const { env } = this;
      return kind === "http" ? new HttpConnection(env, target, listener) : new WebSocketConnection(env, target, listener);
    }
    /**
     * @param {number} connections that all uploads of the page together may have
     * @returns {number} how many of them one may have
     */
    share(connections) {
      return Math.max(1, Math.floor(connections / Math.max(1, this.#sending.size)));
    }
    /**
     * @param {Upload} upload
     * @param {boolean} running whether it is neither paused nor ended nor not yet begun
     * @param {boolean} sending whether its bytes flow
     */
    follow(upload, running, sending) {
      if (this.#running.has(upload) === running && this.#sending.has(upload) === sending) return;
      toggle(this.#running, upload, running);
      toggle(this.#sending, upload, sending);
      this.wake_lock.hold(this.#sending.size > 0);
      this.events.watch_sleep(this.#running.size > 0);
      this.env.page?.removeEventListener("beforeunload", this.#ask);
      if (this.#running.size) this.env.page?.addEventListener("beforeunload", this.#ask);
    }
    #ask = (event) => {
      if ([...this.#running].some((upload) => upload.warns())) event.preventDefault();
    };
    /** @param {boolean} doubtful */
    #revive(doubtful) {
      for (const upload of this.#running) upload.revive(doubtful);
      this.outbox.revive();
    }
    #part() {
      for (const upload of this.#running) upload.remember();
      this.outbox.part();
    }
  };
  function toggle(set, member, belongs) {
    if (belongs) set.add(member);
    else set.delete(member);
  }

  // uploader/sha256.js
  var PRIMES = first_primes(64);
  var ROUND = Int32Array.from(PRIMES, (prime) => fraction_bits(Math.cbrt(prime)));
  var START = Uint32Array.from(PRIMES.slice(0, 8), (prime) => fraction_bits(Math.sqrt(prime)));
  var BLOCK = 64;
  function sha256(data) {
    const state = Uint32Array.from(START);
    const schedule = new Uint32Array(64);
    const message = padded(data);
    const view = new DataView(message.buffer);
    for (let block = 0; block < message.length; block += BLOCK) compress(state, schedule, view, block);
    return Array.from(state, (word2) => word2.toString(16).padStart(8, "0")).join("");
  }
  function padded(data) {
    const message = new Uint8Array(Math.ceil((data.length + 9) / BLOCK) * BLOCK);
    message.set(data);
    message[data.length] = 128;
    const view = new DataView(message.buffer);
    view.setUint32(message.length - 8, Math.floor(data.length / 2 ** 29));
    view.setUint32(message.length - 4, data.length << 3);
    return message;
  }
  function compress(state, schedule, view, block) {
    for (let i = 0; i < 16; i++) schedule[i] = view.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const w15 = word(schedule, i - 15);
      const w2 = word(schedule, i - 2);
      const s0 = rotated(w15, 7) ^ rotated(w15, 18) ^ w15 >>> 3;
      const s1 = rotated(w2, 17) ^ rotated(w2, 19) ^ w2 >>> 10;
      schedule[i] = word(schedule, i - 16) + s0 + word(schedule, i - 7) + s1;
    }
    let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const selector = e & f ^ ~e & g;
      const t1 = h + s1 + selector + word(ROUND, i) + word(schedule, i) | 0;
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const majority = a & b ^ a & c ^ b & c;
      h = g;
      g = f;
      f = e;
      e = d + t1 | 0;
      d = c;
      c = b;
      b = a;
      a = t1 + s0 + majority | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => state[i] = word(state, i) + value);
  }
  function word(words, index) {
    return (
      /** @type {number} */
      words[index]
    );
  }
  function rotated(value, bits) {
    return value >>> bits | value << 32 - bits;
  }
  function first_primes(count) {
    const primes = [];
    for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime)) primes.push(n);
    return primes;
  }
  function fraction_bits(value) {
    return (value - Math.floor(value)) * 2 ** 32 | 0;
  }

  // uploader/fingerprint.js
  var EDGE = 64 * 1024;
  var SAMPLE = 4 * 1024;
  var SAMPLES = 8;
  var KIND = "1-";
  async function fingerprint(file, crypto) {
    const parts = await Promise.all(sampled(file.size).map(([start, end]) => file.slice(start, end).arrayBuffer()));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
    let offset = 0;
    for (const part of parts) {
      bytes.set(new Uint8Array(part), offset);
      offset += part.byteLength;
    }
    return KIND + (crypto ? hexadecimal(await crypto.digest("SHA-256", bytes)) : sha256(bytes));
  }
  function hexadecimal(bytes) {
    return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  function sampled(size) {
    if (size <= 2 * EDGE + SAMPLES * SAMPLE) return [[0, size]];
    const ranges = [[0, EDGE]];
    const step = (size - 2 * EDGE) / SAMPLES;
    for (let i = 0; i < SAMPLES; i++) {
      const start = Math.floor(EDGE + i * step);
      ranges.push([start, start + SAMPLE]);
    }
    ranges.push([size - EDGE, size]);
    return ranges;
  }

  // uploader/file_check.js
  var FRESH = 2e3;
  var FileCheck = class {
    #env;
    #file;
    #size;
    #last_modified;
    #fingerprint = "";
    #confirming = false;
    #checked = 0;
    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {File} file
     */
    constructor(env, file) {
      this.#env = env;
      this.#file = file;
      this.#size = file.size;
      this.#last_modified = file.lastModified;
    }
    /** What the server is told, by which it knows the file again; after `confirm`. */
    get identity() {
      const known = Number.isSafeInteger(this.#last_modified) && this.#last_modified >= 0;
      return {
        name: this.#file.name,
        size: this.#size,
        last_modified: known ? this.#last_modified : void 0,
        fingerprint: this.#fingerprint,
        media_type: this.#file.type || void 0
      };
    }
    /**
     * A file that was changed meanwhile must not become complete: it would be half the old one and half the new.
     * @param {(problem: Problem | null) => void} done called with why it cannot be uploaded, when that is known
     * @returns {boolean} whether the file was found in order a moment ago; otherwise it is looked at now
     */
    confirmed(done) {
      if (this.fresh) return true;
      if (!this.#confirming) this.#confirm_for(done);
      return false;
    }
    /** @param {(problem: Problem | null) => void} done */
    async #confirm_for(done) {
      this.#confirming = true;
      const problem2 = await this.confirm();
      this.#confirming = false;
      done(problem2);
    }
    /** Whether the file was found in order a moment ago. */
    get fresh() {
      return this.#fingerprint !== "" && this.#env.now() - this.#checked < FRESH;
    }
    /**
     * Reads the samples, again each time.
     * @returns {Promise<Problem | null>} why the file cannot be uploaded
     */
    async confirm() {
      if (this.#file.size !== this.#size || this.#file.lastModified !== this.#last_modified) return changed();
      let found;
      try {
        found = await fingerprint(this.#file, this.#env.crypto);
      } catch (error) {
        return unreadable(error);
      }
      this.#fingerprint ||= found;
      this.#checked = this.#env.now();
      return this.#fingerprint === found ? null : changed();
    }
    /**
     * A connection failed while these bytes were being sent: was it the file?
     * @param {[number, number]} chunk
     * @returns {Promise<Problem | null>}
     */
    async doubt([start]) {
      try {
        await this.#file.slice(start, start + 1).arrayBuffer();
        return null;
      } catch (error) {
        return unreadable(error);
      }
    }
  };
  function changed() {
    return fatal(FILE_CHANGED_WHILE_READING, "the file was changed while it was being uploaded");
  }
  function unreadable(error) {
    const name = error instanceof Error || error instanceof DOMException ? error.name : "";
    if (name === "NotReadableError") {
      return fatal(FILE_CHANGED_WHILE_READING, "the file was changed since it was chosen, or cannot be read any more");
    }
    return fatal(FILE_UNREADABLE, "the file cannot be read; it may have been moved or deleted");
  }

  // uploader/state_message.js
  function state_message(phase, { connected, server_state, reason, problem: problem2 }) {
    switch (phase) {
      case "idle":
        return "not yet started";
      case "connecting":
        return "connecting to upload server";
      case "transferring":
        return "transfer file chunks to upload server";
      case "waiting":
        return problem2 ? `waiting: ${problem2.message}` : "lost connection, trying to connect again";
      case "handing_over":
        if (!connected) return "file has arrived; lost connection, trying to connect again";
        return server_state === "waiting" ? "processing file on server" : "handing file to app";
      case "paused":
        return "paused";
      case "cancelling":
        return reason ? `cancelling: ${reason}` : "cancelling";
      case "finished":
        return "all done";
      case "cancelled":
        return reason ? `cancelled: ${reason}` : "cancelled";
      case "failed":
        return `failed: ${problem2?.message ?? ""}`;
    }
  }

  // uploader/public_state.js
  var CANCELLABLE = /* @__PURE__ */ new Set(["idle", "connecting", "transferring", "waiting"]);
  var SHOWS_PROBLEM = /* @__PURE__ */ new Set(["failed", "waiting", "handing_over"]);
  function observe({ phase, bytes_total, scheduler, connected, transport, server_state, reason, problem: problem2 }) {
    const { bytes_acked, bytes_ahead, chunks_acked, chunks_ahead } = scheduler;
    const shown = SHOWS_PROBLEM.has(phase) ? problem2 : null;
    return {
      bytes_acked,
      bytes_ahead,
      bytes_tx: bytes_acked + bytes_ahead,
      frac_complete: fraction(phase, bytes_acked, bytes_total),
      chunks_acked_now: chunks_acked,
      chunks_ahead,
      chunks_tx_now: chunks_acked + chunks_ahead,
      connected,
      transport,
      finished: phase === "finished",
      paused: phase === "paused",
      can_pause: phase === "transferring" || phase === "waiting",
      cancelling: phase === "cancelling",
      cancelled: phase === "cancelled",
      can_cancel: CANCELLABLE.has(phase) || phase === "failed" && !TICKET_IS_OVER.has(problem2?.code ?? 0),
      cancel_msg: phase === "cancelled" ? reason : "",
      error_code: shown ? shown.code : null,
      error_msg: shown ? shown.message : "",
      state_msg: state_message(phase, { connected, server_state, reason, problem: shown })
    };
  }
  function fraction(phase, acked, total) {
    if (total > 0) return acked / total;
    return phase === "handing_over" || phase === "finished" ? 1 : 0;
  }

  // uploader/state_machine.js
  var OUTCOMES = { finish: "finished", cancelled: "cancelled", fail: "failed" };
  var NEXT = {
    idle: { start: "connecting", drop: "cancelled" },
    connecting: { connect: "transferring", arrive: "handing_over", lose: "waiting", drop: "cancelled", ...OUTCOMES },
    transferring: { pause: "paused", cancel: "cancelling", arrive: "handing_over", lose: "waiting", ...OUTCOMES },
    // Attempts to connect again belong to the wait, so that it can be paused all the time.
    waiting: { pause: "paused", connect: "transferring", arrive: "handing_over", drop: "cancelled", ...OUTCOMES },
    // After a power cut at the server some bytes may be missing again.
    handing_over: { connect: "transferring", ...OUTCOMES },
    paused: { start: "connecting" },
    // Too late to cancel: the upload is where the server says.
    cancelling: { connect: "transferring", arrive: "handing_over", lose: "waiting", drop: "cancelled", ...OUTCOMES },
    finished: {},
    cancelled: {},
    failed: { start: "connecting", drop: "cancelled" }
  };
  function next_phase(phase, event) {
    return NEXT[phase][event];
  }

  // pool/concurrency_controller.js
  var LONG_SETUP = 120;
  var FIRST_COUNT = 4;
  var SETTLE_SETUPS = 3;
  var SHORTEST_SETTLING = 500;
  var SHORTEST_MEASURE = 1e3;
  var ACKS_PER_CONNECTION = 2;
  var ACKS_AT_LEAST = 6;
  var GIVE_UP_OPENING = 6e3;
  var WORTH_KEEPING = 0.15;
  var SCALES = 0.5;
  var TOLERATED_LOSS = 0.06;
  var LONGER_LOOK = 2;
  var UP = 2;
  var DOWN = 0.75;
  var HOLD_FIRST = 15e3;
  var HOLD_LIMIT = 12e4;
  var gain = (more, fewer) => (more.rate / fewer.rate - 1) / (more.count / fewer.count - 1);
  var ConcurrencyController = class {
    /** How many connections there should be now. */
    target = 1;
    #limit = 1;
    #setup = 0;
    /** @type {{count: number, rate: number} | null} what the number before a probe has brought */
    #reference = null;
    /** @type {{count: number, rate: number} | null} what a larger number has brought, before it was made smaller */
    #above = null;
    /** @type {{count: number, rate: number} | null} what a larger number has brought that was not worth it */
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
     * The goodput has had other reasons than the number of connections: what was measured says nothing.
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
      const rate = this.#measure.bytes * 1e3 / elapsed;
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
      const { count } = (
        /** @type {{count: number}} */
        this.#above
      );
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
  };

  // pool/pool_sizer.js
  var MIB = 1024 * 1024;
  var WORTH_SHARING = 4 * MIB;
  var LAST_SECONDS = 2;
  var SECONDS_PER_CHUNK = 4;
  var YOUNG = 3e3;
  var SECONDS_PER_CHUNK_WHEN_YOUNG = 16;
  var HTTP_CONNECTIONS = 4;
  var OPEN_AGAIN_AFTER = 2e3;
  var OPEN_AGAIN_AT_LAST = 6e4;
  var WEBSOCKET_AGAIN_AFTER = 3e4;
  var PoolSizer = class {
    #page;
    #pool;
    #scheduler;
    #rates;
    #bucket;
    #selector;
    #hello;
    #count = new ConcurrencyController();
    #counting = false;
    #setup = 0;
    #first_ack = 0;
    #not_before = 0;
    #open_again_after = OPEN_AGAIN_AFTER;
    #websocket_at = 0;
    #websocket_wait = WEBSOCKET_AGAIN_AFTER;
    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {import("./connection_pool.js").ConnectionPool} pool
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {import("../session/transport_selector.js").TransportSelector} selector
     * @param {() => Hello} hello
     */
    constructor(page2, pool, scheduler, rates, bucket, selector, hello2) {
      this.#page = page2;
      this.#pool = pool;
      this.#scheduler = scheduler;
      this.#rates = rates;
      this.#bucket = bucket;
      this.#selector = selector;
      this.#hello = hello2;
    }
    /**
     * @param {PooledConnection} pooled that the server has answered on
     * @param {boolean} first after none
     */
    welcomed(pooled, first) {
      const now = this.#page.env.now();
      this.#open_again_after = OPEN_AGAIN_AFTER;
      if (!first) return;
      this.#counting = false;
      this.#setup = now - pooled.opened;
      this.#websocket_at = now + this.#websocket_wait;
    }
    /**
     * A connection of several was lost, or could not be had: the next one is not opened in the same moment, and ever later
     * until one could be had.
     */
    lost() {
      const now = this.#page.env.now();
      if (now < this.#not_before) return;
      this.#not_before = now + this.#open_again_after;
      this.#open_again_after = Math.min(OPEN_AGAIN_AT_LAST, this.#open_again_after * 2);
    }
    /**
     * @param {PooledConnection} pooled
     * @param {number} bytes just acknowledged
     * @param {Welcome} limits
     */
    acked({ connection: { kind } }, bytes, limits) {
      const now = this.#page.env.now();
      if (kind === "websocket") this.#pool.retire(this.#pool.active.filter(({ connection }) => connection.kind !== kind));
      if (this.#scheduler.complete) return this.#pool.keep_one();
      if (this.#selector.fallen_back && now >= this.#websocket_at) this.#try_websocket(now);
      if (this.#scheduler.bytes_missing < Math.max(WORTH_SHARING, this.#rates.rate * LAST_SECONDS)) return;
      if (this.#bucket.binding) return this.#count.disturb(now);
      if (!this.#counting) this.#first_ack = now;
      const limit = this.#limit(limits, now - this.#first_ack < YOUNG);
      if (this.#counting) {
        this.#count.obey(now, limit);
        this.#count.acked(now, bytes, this.#pool.welcomed.length);
      } else {
        this.#counting = true;
        this.#count.begin(now, limit, this.#setup);
      }
      this.#approach(now);
    }
    /** @param {number} now */
    #approach(now) {
      const { kind } = this.#selector;
      const active = this.#pool.active.filter(({ connection }) => connection.kind === kind);
      if (active.length > this.#count.target) this.#pool.retire(active.slice(this.#count.target));
      if (now < this.#not_before) return;
      for (let i = active.length; i < this.#count.target; i++) this.#pool.open(kind, this.#hello());
    }
    /**
     * @param {Welcome} limits
     * @param {boolean} young
     */
    #limit({ connections, chunk_min }, young) {
      const kind = this.#selector.kind;
      const share = this.#page.share(kind === "http" ? HTTP_CONNECTIONS : connections);
      const seconds = young ? SECONDS_PER_CHUNK_WHEN_YOUNG : SECONDS_PER_CHUNK;
      const useful = Math.floor(this.#rates.rate * seconds / chunk_min);
      return Math.max(1, Math.min(connections, share, useful));
    }
    /** @param {number} now */
    #try_websocket(now) {
      this.#websocket_wait *= 2;
      this.#websocket_at = now + this.#websocket_wait;
      this.#pool.open("websocket", this.#hello());
    }
  };

  // pool/endgame.js
  var LATE_AFTER = 500;
  var STUCK_AFTER = 5e3;
  var STUCK_FACTOR = 3;
  var Endgame = class {
    #scheduler;
    #rates;
    #late_at = Infinity;
    /**
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     */
    constructor(scheduler, rates) {
      this.#scheduler = scheduler;
      this.#rates = rates;
    }
    /**
     * @param {number} now
     * @returns {boolean} whether it has come, and `is_late` and `is_stuck` are to be asked from time to time
     */
    has_come(now) {
      if (this.#scheduler.bytes_missing > 0 || this.#scheduler.complete) {
        this.#late_at = Infinity;
        return false;
      }
      this.#late_at = Math.min(this.#late_at, now + Math.max(LATE_AFTER, this.#rates.remaining));
      return true;
    }
    /** @param {number} now */
    is_late(now) {
      return now >= this.#late_at;
    }
    /**
     * @param {import("./connection_pool.js").PooledConnection} pooled that has chunks on their way
     * @param {number} now
     */
    is_stuck({ connection, heard }, now) {
      return now - heard > STUCK_AFTER + STUCK_FACTOR * this.#rates.expected(connection);
    }
  };

  // pool/connection_pool.js
  var RELIEF_EVERY = 500;
  var ConnectionPool = class {
    #env;
    #scheduler;
    #rates;
    #bucket;
    #owner;
    #endgame;
    /** @type {Set<PooledConnection>} */
    #pool = /* @__PURE__ */ new Set();
    /** @type {unknown} */
    #thaw = null;
    /** @type {unknown} */
    #relief = null;
    /** When a request that may have been too large was last lost; what was opened before went down with it. */
    #suspected = 0;
    #flowing = false;
    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {Owner} owner
     */
    constructor(env, scheduler, rates, bucket, owner) {
      this.#env = env;
      this.#scheduler = scheduler;
      this.#rates = rates;
      this.#bucket = bucket;
      this.#owner = owner;
      this.#endgame = new Endgame(scheduler, rates);
    }
    /** @returns {PooledConnection[]} those that a server has answered on */
    get welcomed() {
      return [...this.#pool].filter((pooled) => pooled.welcomed);
    }
    /** Those that carry chunks or soon will. */
    get active() {
      return [...this.#pool].filter((pooled) => !pooled.retiring);
    }
    get count() {
      return this.#pool.size;
    }
    /**
     * @param {"websocket" | "http"} kind
     * @param {Hello} hello
     * @returns {PooledConnection}
     */
    open(kind, hello2) {
      const listener = {
        welcome: (welcome) => this.#welcome(pooled, welcome),
        ack: (chunks) => this.#ack(pooled, chunks),
        state: (outcome) => this.#owner.told(outcome),
        too_large: (chunk) => this.#too_large(pooled, chunk),
        closed: (problem2) => this.#closed(pooled, problem2)
      };
      const connection = this.#owner.connect(kind, listener);
      const pooled = { connection, welcomed: false, retiring: false, opened: this.#env.now(), heard: 0 };
      this.#pool.add(pooled);
      connection.open(hello2);
      return pooled;
    }
    /** Chunks may flow: after the first welcome of a session. */
    flow() {
      this.#flowing = true;
      this.pump();
    }
    /** Gives chunks to every connection that has room for one, in turn, until none has. */
    pump() {
      if (!this.#flowing) return;
      let busy = true;
      while (busy) {
        busy = false;
        for (const pooled of this.#pool) busy = this.#feed(pooled) || busy;
      }
      this.#env.stop(this.#relief);
      if (this.#endgame.has_come(this.#env.now())) this.#relief = this.#env.after(RELIEF_EVERY, () => this.#relieve());
    }
    /** Whoever is stuck is left, when there are others who have nothing to do. */
    #relieve() {
      if (this.welcomed.some((pooled) => this.#is_idle(pooled))) {
        const now = this.#env.now();
        const is_stuck = (pooled) => !this.#is_idle(pooled) && this.#endgame.is_stuck(pooled, now);
        for (const pooled of this.welcomed.filter(is_stuck)) {
          pooled.connection.close();
          this.#closed(pooled, null);
        }
      }
      this.pump();
    }
    /** @param {PooledConnection} pooled */
    #is_idle(pooled) {
      return !pooled.retiring && !this.#scheduler.oldest(pooled.connection);
    }
    /** All has arrived: one stays to hear what becomes of the upload. What others still carry is there already. */
    keep_one() {
      const carried = ({ connection }) => this.#scheduler.chunks_of(connection);
      const soonest = (a, b) => carried(a) - carried(b) || b.heard - a.heard;
      const [kept = this.active[0]] = this.active.filter((pooled) => pooled.welcomed).sort(soonest);
      for (const pooled of this.active) {
        if (pooled === kept) continue;
        pooled.connection.close();
        this.#forget(pooled);
      }
    }
    /** Nothing more is sent; what is on its way is waited for. */
    hold() {
      this.#flowing = false;
      this.#env.stop(this.#thaw);
      this.#env.stop(this.#relief);
    }
    /**
     * These get no more chunks and are closed as soon as their last one is acknowledged.
     * @param {PooledConnection[]} pool
     */
    retire(pool) {
      for (const pooled of pool) {
        pooled.retiring = true;
        this.#close_if_done(pooled);
      }
    }
    check() {
      for (const pooled of this.#pool) pooled.connection.check();
    }
    /** The connection on which a word to the server arrives soonest. */
    get quickest() {
      const ready = this.welcomed;
      return ready.sort((a, b) => a.connection.buffered - b.connection.buffered)[0]?.connection ?? null;
    }
    /** @param {Connection | null} [but] one that closes by itself */
    close(but = null) {
      this.hold();
      for (const pooled of this.#pool) {
        if (pooled.connection !== but) pooled.connection.close();
        this.#forget(pooled);
      }
    }
    /**
     * @param {PooledConnection} pooled
     * @returns {boolean} whether it was given a chunk
     */
    #feed(pooled) {
      if (!pooled.welcomed || pooled.retiring) return false;
      const { connection } = pooled;
      const { bytes_missing, bytes_ahead } = this.#scheduler;
      const now = this.#env.now();
      const repeats = bytes_missing === 0;
      if (repeats && !(this.#endgame.is_late(now) && this.#is_idle(pooled))) return false;
      const size = this.#rates.next_size(connection, bytes_missing || bytes_ahead, connection);
      if (size === 0) return false;
      if (!repeats && size >= bytes_missing && !this.#owner.may_complete()) return false;
      const wait = this.#bucket.wait(now);
      if (wait > 0) {
        this.#env.stop(this.#thaw);
        this.#thaw = this.#env.after(wait, () => this.pump());
        return false;
      }
      const portion = this.#bucket.portion(size);
      const chunk = repeats ? this.#scheduler.repeat(connection, portion) : this.#scheduler.take(connection, portion);
      if (chunk) this.#send(pooled, chunk, now);
      return chunk !== null;
    }
    /**
     * @param {PooledConnection} pooled
     * @param {[number, number]} chunk
     * @param {number} now
     */
    #send(pooled, chunk, now) {
      const bytes = chunk[1] - chunk[0];
      this.#bucket.spend(bytes);
      if (this.#scheduler.chunks_of(pooled.connection) === 1) pooled.heard = now;
      this.#rates.sent(pooled.connection, bytes, now);
      pooled.connection.send(chunk);
    }
    /**
     * @param {PooledConnection} pooled
     * @param {Welcome} welcome
     */
    #welcome(pooled, welcome) {
      pooled.welcomed = true;
      this.#rates.obey(welcome);
      this.#rates.join(pooled.connection);
      this.#owner.welcomed(pooled, welcome);
    }
    /**
     * @param {PooledConnection} pooled
     * @param {[number, number][]} chunks
     */
    #ack(pooled, chunks) {
      const now = pooled.heard = this.#env.now();
      let bytes = 0;
      for (const chunk of chunks) {
        if (!this.#scheduler.ack(pooled.connection, chunk)) continue;
        this.#rates.acked(pooled.connection, chunk[1] - chunk[0], now);
        bytes += chunk[1] - chunk[0];
      }
      this.#close_if_done(pooled);
      this.pump();
      this.#owner.acked(pooled, bytes);
    }
    /**
     * @param {PooledConnection} pooled
     * @param {[number, number]} chunk
     */
    #too_large(pooled, [start, end]) {
      this.#rates.refuse(end - start);
      this.#rates.undone(pooled.connection, end - start);
      this.#scheduler.put_back(pooled.connection, start);
      this.pump();
    }
    /**
     * @param {PooledConnection} pooled
     * @param {Problem | null} problem
     */
    #closed(pooled, problem2) {
      const oldest = this.#scheduler.oldest(pooled.connection);
      if (!problem2 && oldest && pooled.connection.kind === "http" && pooled.opened >= this.#suspected) {
        this.#suspected = this.#env.now();
        this.#rates.unanswered(oldest[1] - oldest[0]);
      }
      this.#forget(pooled);
      const waiting = this.welcomed.filter((other) => other.connection.kind === "http" && this.#is_idle(other));
      if (!problem2) for (const { connection } of waiting) connection.check();
      if (!this.active.some(({ welcomed }) => welcomed)) for (const left of this.#pool) left.retiring = false;
      this.#owner.lost(pooled, problem2, oldest);
      this.pump();
    }
    /** @param {PooledConnection} pooled */
    #close_if_done(pooled) {
      if (!pooled.retiring || this.#scheduler.oldest(pooled.connection)) return;
      pooled.connection.close();
      this.#forget(pooled);
    }
    /** @param {PooledConnection} pooled */
    #forget(pooled) {
      this.#pool.delete(pooled);
      this.#rates.leave(pooled.connection);
      this.#scheduler.drop(pooled.connection);
    }
  };

  // pool/rate_controller.js
  var CHUNK_SECONDS = 0.7;
  var LONE_CHUNK_SECONDS = 1.2;
  var AHEAD_SECONDS = 2;
  var BUFFERED_SECONDS = 0.75;
  var ENDGAME_SECONDS = 2;
  var ENDGAME_FACTOR = 0.5;
  var SHORTEST_CHUNK_SECONDS = 0.05;
  var MEMORY = 2e3;
  var KIB = 1024;
  var MIB2 = 1024 * KIB;
  var SMALLEST_WINDOW = 2 * MIB2;
  var MOST_BUFFERED = 8 * MIB2;
  var FIRST_CHUNKS = 4;
  var FIRST_CHUNK_SECONDS = 0.2;
  var GROWTH = 4;
  var SUSPICIONS = 2;
  var clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  var Meter = class {
    #store;
    #since = 0;
    #bytes = 0;
    #milliseconds = 0;
    /** @param {number} store milliseconds after which a moment weighs a third */
    constructor(store) {
      this.#store = store;
    }
    /** @param {number} now from here on bytes are on their way; before it there was nothing to measure */
    resume(now) {
      this.#since = now;
    }
    /**
     * @param {number} now
     * @param {number} bytes
     */
    add(now, bytes) {
      const elapsed = now - this.#since;
      const faded = Math.exp(-elapsed / this.#store);
      this.#since = now;
      this.#bytes = this.#bytes * faded + bytes;
      this.#milliseconds = this.#milliseconds * faded + elapsed;
    }
    /** Bytes a second, 0 as long as there is nothing to tell. */
    get rate() {
      return this.#bytes * 1e3 / Math.max(1, this.#milliseconds);
    }
  };
  var PooledConnection = class {
    meter = new Meter(MEMORY);
    heard = false;
    ahead = 0;
    /** Chunks grow until they are as large as the line wants them: a slow line must never get a huge one first. */
    ramp;
    #assumed;
    /**
     * @param {number} first_chunk bytes
     * @param {number} assumed rate until there is one to measure
     */
    constructor(first_chunk, assumed) {
      this.ramp = first_chunk;
      this.#assumed = assumed;
    }
    get rate() {
      return this.meter.rate || this.#assumed;
    }
  };
  var RateController = class {
    /** @type {Limits} */
    #limits = { chunk_min: 64 * KIB, chunk_max: 8 * MIB2, window: 64 * MIB2 };
    #piece_limit = Infinity;
    /** The largest piece that has arrived. */
    #proven = 0;
    #suspicions = 0;
    /** @type {Map<object, PooledConnection>} */
    #pool = /* @__PURE__ */ new Map();
    #meter = new Meter(MEMORY);
    #ahead = 0;
    /** @param {Limits} limits */
    obey(limits) {
      this.#limits = limits;
    }
    /** Bytes a second over all connections. */
    get rate() {
      return this.#meter.rate;
    }
    /**
     * Something on the way refused a piece of `size` bytes: none as large goes out again.
     * @param {number} size
     * @returns {number} what goes at most from now on
     */
    refuse(size) {
      this.#piece_limit = Math.max(1, Math.floor(Math.min(size, this.#piece_limit) / 2));
      return this.#piece_limit;
    }
    /**
     * A request with a piece of `size` bytes ended without an answer. Where a proxy refuses a large body, a page of another
     * host cannot read that: the refusal has no CORS headers.
     * @param {number} size
     */
    unanswered(size) {
      if (size <= this.#proven || ++this.#suspicions < SUSPICIONS) return;
      this.#suspicions = 0;
      this.refuse(size);
    }
    /**
     * A connection begins small, unless others have found out what to expect of it.
     * @param {object} connection
     */
    join(connection) {
      const { chunk_min, chunk_max } = this.#limits;
      const share = this.rate / (this.#pool.size + 1);
      const first = clamp(share * FIRST_CHUNK_SECONDS, chunk_min, chunk_max);
      this.#pool.set(connection, new PooledConnection(this.#whole(first), share));
    }
    /** @param {object} connection */
    leave(connection) {
      this.#ahead -= this.#pool.get(connection)?.ahead ?? 0;
      this.#pool.delete(connection);
    }
    /**
     * The size of the next chunk for this connection, or 0 if it has enough on its way for now.
     * @param {object} connection
     * @param {number} missing bytes of the file that are still to be sent
     * @param {{depth: number, buffered: number}} capacity of the connection
     */
    next_size(connection, missing, capacity) {
      const pooled = this.#pool.get(connection);
      if (!pooled) return 0;
      const { rate } = pooled;
      const ending = missing < this.rate * ENDGAME_SECONDS;
      const soon = ending ? ENDGAME_FACTOR : 1;
      const lone = capacity.depth === 1;
      const { chunk_min, chunk_max, window } = this.#limits;
      const most = lone ? Math.max(chunk_max, window / this.#pool.size) : chunk_max;
      const seconds = lone ? LONE_CHUNK_SECONDS : CHUNK_SECONDS;
      const size = this.#chunk_size(pooled, Math.min(rate * seconds * soon, most), missing);
      if (this.#ahead === 0) return size;
      if (this.#ahead + size > window) return 0;
      if (ending && !pooled.meter.rate) return 0;
      if (pooled.ahead === 0) return size;
      if (this.#ahead + size > Math.max(this.rate * AHEAD_SECONDS, SMALLEST_WINDOW)) return 0;
      if (lone) return 0;
      if (capacity.buffered > clamp(rate * BUFFERED_SECONDS, FIRST_CHUNKS * chunk_min, MOST_BUFFERED)) return 0;
      const wanted = Math.max(rate * AHEAD_SECONDS * soon, FIRST_CHUNKS * chunk_min);
      return pooled.ahead + size <= Math.min(wanted, FIRST_CHUNKS * pooled.ramp) ? size : 0;
    }
    /**
     * @param {PooledConnection} pooled
     * @param {number} bytes that would be right for the line
     * @param {number} missing
     */
    #chunk_size(pooled, bytes, missing) {
      const { chunk_min } = this.#limits;
      const share = missing / (2 * this.#pool.size);
      const wanted = Math.min(bytes, pooled.ramp, Math.max(share, pooled.rate * SHORTEST_CHUNK_SECONDS, chunk_min));
      return Math.min(this.#whole(wanted), this.#piece_limit, this.#limits.window);
    }
    /** @param {number} bytes */
    #whole(bytes) {
      const { chunk_min } = this.#limits;
      return Math.max(1, Math.floor(bytes / chunk_min)) * chunk_min;
    }
    /**
     * @param {object} connection
     * @param {number} bytes
     * @param {number} now
     */
    sent(connection, bytes, now) {
      const pooled = this.#pool.get(connection);
      if (!pooled) return;
      if (pooled.ahead === 0) pooled.meter.resume(now);
      if (this.#ahead === 0) this.#meter.resume(now);
      pooled.ahead += bytes;
      this.#ahead += bytes;
    }
    /**
     * @param {object} connection
     * @returns {number} milliseconds in which what it has on its way should arrive
     */
    expected(connection) {
      const pooled = this.#pool.get(connection);
      return pooled?.rate ? pooled.ahead * 1e3 / pooled.rate : 0;
    }
    /** Milliseconds in which all that is on its way should arrive, if the line is what sets the speed. */
    get remaining() {
      return this.#ahead * 1e3 / Math.max(1, this.rate);
    }
    /**
     * A chunk turned out not to be on its way.
     * @param {object} connection
     * @param {number} bytes
     */
    undone(connection, bytes) {
      const pooled = this.#pool.get(connection);
      if (!pooled) return;
      pooled.ahead -= bytes;
      this.#ahead -= bytes;
    }
    /**
     * Where chunks follow each other closely the round trip before the first ack tells nothing of the line's rate.
     * @param {PooledConnection} pooled
     * @param {number} bytes
     * @param {number} now
     */
    #measure(pooled, bytes, now) {
      if (pooled.heard || pooled.ahead === 0) pooled.meter.add(now, bytes);
      else pooled.meter.resume(now);
      pooled.heard = true;
      this.#meter.add(now, bytes);
    }
    /**
     * @param {object} connection
     * @param {number} bytes
     * @param {number} now
     */
    acked(connection, bytes, now) {
      const pooled = this.#pool.get(connection);
      if (!pooled) return;
      this.undone(connection, bytes);
      this.#proven = Math.max(this.#proven, bytes);
      this.#measure(pooled, bytes, now);
      if (bytes >= pooled.ramp) pooled.ramp *= GROWTH;
    }
  };

  // session/reconnection.js
  var Reconnection = class {
    #env;
    #check;
    #owner;
    #backoff;
    #attempt = 0;
    /** @type {unknown} */
    #timer = null;
    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("../uploader/file_check.js").FileCheck} check
     * @param {Owner} owner
     */
    constructor(env, check, owner) {
      this.#env = env;
      this.#check = check;
      this.#owner = owner;
      this.#backoff = new Backoff(env.random);
    }
    /** Another number means that what was begun under the last one was given up meanwhile. */
    get attempt() {
      return this.#attempt;
    }
    /** Nobody waits any longer. */
    async now() {
      this.stop();
      const attempt = this.#attempt;
      const problem2 = await this.#check.confirm();
      if (attempt !== this.#attempt) return;
      if (problem2) this.#owner.failed(problem2);
      else this.#owner.connect();
    }
    /** @param {number | null} [wanted] seconds that the server asked us to wait */
    later(wanted) {
      this.stop();
      this.#timer = this.#env.after(this.#backoff.next(wanted), () => this.now());
    }
    /** The attempt under way, or the one that was to come, is given up. */
    stop() {
      this.#attempt++;
      this.#env.stop(this.#timer);
    }
    /** Progress was made, or the user wants it anew: the next wait is a first one again. */
    reset() {
      this.#backoff.reset();
    }
  };

  // pool/ranges.js
  var Ranges = class {
    /** @type {Range[]} */
    #ranges = [];
    #size = 0;
    /** @param {Iterable<Range>} [ranges] in any order, overlapping or not */
    constructor(ranges = []) {
      for (const [start, end] of ranges) this.add(start, end);
    }
    /** The number of bytes in the set. */
    get size() {
      return this.#size;
    }
    /** @returns {Range | undefined} the lowest range */
    get first() {
      return this.#ranges[0];
    }
    /** @returns {Range | undefined} the highest range */
    get last() {
      return this.#ranges.at(-1);
    }
    [Symbol.iterator]() {
      return this.#ranges[Symbol.iterator]();
    }
    /**
     * @param {number} start
     * @param {number} end
     */
    add(start, end) {
      if (end <= start) return;
      const from = this.#first_ending_at(start);
      let to = from;
      let low = start;
      let high = end;
      for (let range; (range = this.#ranges[to]) && range[0] <= end; to++) {
        low = Math.min(low, range[0]);
        high = Math.max(high, range[1]);
      }
      this.#replace(from, to, [[low, high]]);
    }
    /**
     * @param {number} start
     * @param {number} end
     */
    remove(start, end) {
      if (end <= start) return;
      const from = this.#first_ending_at(start + 1);
      let to = from;
      const rest = [];
      for (let range; (range = this.#ranges[to]) && range[0] < end; to++) {
        if (range[0] < start) rest.push([range[0], start]);
        if (range[1] > end) rest.push([end, range[1]]);
      }
      this.#replace(from, to, rest);
    }
    /**
     * How many bytes of [start, end) are in the set.
     * @param {number} start
     * @param {number} end
     */
    measure(start, end) {
      let sum = 0;
      for (let i = this.#first_ending_at(start + 1), range; (range = this.#ranges[i]) && range[0] < end; i++) {
        sum += Math.min(range[1], end) - Math.max(range[0], start);
      }
      return sum;
    }
    /**
     * @param {number} offset
     * @returns {number} the index of the first range whose end is at or above `offset`
     */
    #first_ending_at(offset) {
      let low = 0;
      let high = this.#ranges.length;
      while (low < high) {
        const middle = low + high >> 1;
        if (
          /** @type {Range} */
          this.#ranges[middle][1] < offset
        ) low = middle + 1;
        else high = middle;
      }
      return low;
    }
    /**
     * @param {number} from
     * @param {number} to
     * @param {Range[]} ranges
     */
    #replace(from, to, ranges) {
      for (const [start, end] of this.#ranges.splice(from, to - from, ...ranges)) this.#size -= end - start;
      for (const [start, end] of ranges) this.#size += end - start;
    }
  };

  // pool/chunk_scheduler.js
  var ChunkScheduler = class {
    #total;
    #arrived = new Ranges();
    #missing = new Ranges();
    /** @type {Map<object, Map<number, number>>} for each connection its chunks on the way, start -> end */
    #flying = /* @__PURE__ */ new Map();
    #chunks_acked = 0;
    /** @param {number} total bytes of the file */
    constructor(total) {
      this.#total = total;
      this.#missing.add(0, total);
    }
    /** Bytes known to have arrived. */
    get bytes_acked() {
      return this.#arrived.size;
    }
    /** Bytes sent that are not known to have arrived. */
    get bytes_ahead() {
      return this.#total - this.#arrived.size - this.#missing.size;
    }
    /** Bytes not yet sent. */
    get bytes_missing() {
      return this.#missing.size;
    }
    /** Chunks sent of which not every byte is known to have arrived. */
    get chunks_ahead() {
      return this.#count((start, end) => !this.#has(start, end));
    }
    /** Chunks known to have arrived since the last `restart`; news of the whole file may come before the last acks. */
    get chunks_acked() {
      return this.#chunks_acked + this.#count((start, end) => this.#has(start, end));
    }
    get complete() {
      return this.#arrived.size === this.#total;
    }
    /** A new connection after none: chunks are counted anew. */
    restart() {
      this.#flying.clear();
      this.#chunks_acked = 0;
      this.#recount();
    }
    /**
     * The server says what it has. With chunks on their way the list may be older than an ack that has come meanwhile,
     * so it only adds; without, it is the truth, even if that is less than before.
     * @param {Iterable<Range>} extents
     */
    confirm(extents) {
      if (this.#count(() => true) === 0) this.#arrived = new Ranges();
      for (const [start, end] of extents) this.#arrived.add(start, Math.min(end, this.#total));
      this.#recount();
    }
    /**
     * The next chunk for a connection, from then on on its way; null when there is nothing left to send.
     * @param {object} connection
     * @param {number} size bytes at most
     * @returns {Range | null}
     */
    take(connection, size) {
      const first = this.#missing.first;
      if (!first) return null;
      const [start, end] = [first[0], Math.min(first[1], first[0] + size)];
      this.#missing.remove(start, end);
      return this.#fly(connection, start, end);
    }
    /**
     * Bytes that one other connection is late with, once more over this one: the last of them, because that one sends the
     * first ones first. Null when all that is on its way goes over two connections already.
     * @param {object} connection
     * @param {number} size bytes at most
     * @returns {Range | null}
     */
    repeat(connection, size) {
      const [most] = [...this.#flying.keys()].map((owner) => this.#alone(owner)).sort((a, b) => b.size - a.size);
      const last = most?.last;
      return last ? this.#fly(connection, Math.max(last[0], last[1] - size), last[1]) : null;
    }
    /**
     * @param {object} owner
     * @returns {Ranges} bytes that are on their way over this connection and no other
     */
    #alone(owner) {
      const alone = new Ranges(this.#flying.get(owner));
      for (const [start, end] of this.#arrived) alone.remove(start, end);
      for (const [other, chunks] of this.#flying) {
        if (other !== owner) for (const [start, end] of chunks) alone.remove(start, end);
      }
      return alone;
    }
    /**
     * @param {object} connection
     * @param {number} start
     * @param {number} end
     * @returns {Range}
     */
    #fly(connection, start, end) {
      let chunks = this.#flying.get(connection);
      if (!chunks) this.#flying.set(connection, chunks = /* @__PURE__ */ new Map());
      chunks.set(start, end);
      return [start, end];
    }
    /**
     * @param {object} connection
     * @param {Range} chunk
     * @returns {boolean} whether this connection had that chunk on its way
     */
    ack(connection, [start, end]) {
      const chunks = this.#flying.get(connection);
      if (chunks?.get(start) !== end) return false;
      chunks.delete(start);
      this.#arrived.add(start, end);
      this.#chunks_acked++;
      return true;
    }
    /**
     * A chunk was not sent after all, or refused.
     * @param {object} connection
     * @param {number} start
     */
    put_back(connection, start) {
      if (this.#flying.get(connection)?.delete(start)) this.#recount();
    }
    /**
     * The connection is gone: what it had on its way is missing again.
     * @param {object} connection
     */
    drop(connection) {
      const chunks = this.#flying.get(connection);
      if (!chunks) return;
      for (const [start, end] of chunks) if (this.#has(start, end)) this.#chunks_acked++;
      this.#flying.delete(connection);
      this.#recount();
    }
    /**
     * @param {object} connection
     * @returns {number} chunks that it has on their way
     */
    chunks_of(connection) {
      return this.#flying.get(connection)?.size ?? 0;
    }
    /**
     * @param {object} connection
     * @returns {Range | undefined} the lowest chunk that this connection has on its way
     */
    oldest(connection) {
      const chunks = this.#flying.get(connection);
      return chunks && [...chunks].sort((a, b) => a[0] - b[0])[0];
    }
    /**
     * @param {number} start
     * @param {number} end
     */
    #has(start, end) {
      return this.#arrived.measure(start, end) === end - start;
    }
    /** @param {(start: number, end: number) => boolean} condition on a chunk that is on its way */
    #count(condition) {
      let sum = 0;
      for (const [start, end] of this.#chunks()) if (condition(start, end)) sum++;
      return sum;
    }
    *#chunks() {
      for (const chunks of this.#flying.values()) yield* chunks;
    }
    #recount() {
      this.#missing = new Ranges([[0, this.#total]]);
      for (const [start, end] of this.#arrived) this.#missing.remove(start, end);
      for (const [start, end] of this.#chunks()) this.#missing.remove(start, end);
    }
  };

  // session/stall_detector.js
  var UNACKED_FOR = 6e3;
  var LOOK_AGAIN_AFTER = 3e3;
  var ANSWERED_WITHIN = 5e3;
  var LOOKS = 2;
  var ARRIVAL_DOUBTED_AFTER = 15e3;
  var StallDetector = class {
    #env;
    #page;
    #ticket;
    #owner;
    /** @type {unknown} */
    #timer = null;
    /** @type {(() => void) | null} aborts the question under way */
    #abort = null;
    #doubt_after = ARRIVAL_DOUBTED_AFTER;
    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {string} ticket
     * @param {Owner} owner
     */
    constructor(page2, ticket, owner) {
      this.#env = page2.env;
      this.#page = page2;
      this.#ticket = ticket;
      this.#owner = owner;
    }
    /** Chunks were acknowledged. */
    moved() {
      this.#doubt_after = ARRIVAL_DOUBTED_AFTER;
    }
    /** Chunks flow over a WebSocket; to be said again with each ack. */
    watch_chunks() {
      this.stop();
      this.#wait(UNACKED_FOR, () => {
        if (this.#owner.waiting()) this.#look(-1, 0);
        else this.watch_chunks();
      });
    }
    /** All is acknowledged; what is left is the server's word that the file has arrived. */
    await_arrival() {
      this.stop();
      this.#wait(this.#doubt_after, () => {
        this.#doubt_after *= 2;
        this.#owner.doubtful();
      });
    }
    stop() {
      this.#env.stop(this.#timer);
      this.#abort?.();
      this.#abort = null;
    }
    /**
     * @param {number} before bytes that the server had when it was asked last
     * @param {number} in_vain so many looks in a row found no more
     */
    #look(before, in_vain) {
      this.#wait(ANSWERED_WITHIN, () => this.watch_chunks());
      const url = upload_url(this.#page.frontend, this.#ticket);
      this.#abort = request(this.#env, { method: "GET", url }, ({ status, json }) => {
        if (status !== 200 || !Number.isSafeInteger(json?.arrived)) return this.watch_chunks();
        const times = json.arrived === before ? in_vain + 1 : 0;
        if (times === LOOKS) {
          this.stop();
          this.#owner.swallowed();
        } else {
          this.#wait(LOOK_AGAIN_AFTER, () => this.#look(json.arrived, times));
        }
      });
    }
    /**
     * The one timer: what is waited for at present.
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
      this.#env.stop(this.#timer);
      this.#timer = this.#env.after(milliseconds, action);
    }
  };

  // pool/token_bucket.js
  var BURST_SECONDS = 0.5;
  var PORTION_SECONDS = 0.5;
  var SMALLEST_PORTION = 16 * 1024;
  var TokenBucket = class {
    #limits;
    #tokens = 0;
    #filled = 0;
    /** @param {() => number[]} limits bytes a second, 0 for none; the lowest holds, and they may change at any time */
    constructor(limits) {
      this.#limits = limits;
    }
    /** Bytes a second, 0 for no limit. */
    get #rate() {
      const limits = this.#limits().filter((limit) => limit > 0);
      return limits.length ? Math.min(...limits) : 0;
    }
    /**
     * @param {number} now
     * @returns {number} milliseconds until something may be sent, 0 if it may
     */
    wait(now) {
      const rate = this.#rate;
      if (!rate) return 0;
      const earned = Math.max(0, now - this.#filled) * rate / 1e3;
      this.#tokens = Math.min(rate * BURST_SECONDS, this.#tokens + earned);
      this.#filled = now;
      return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens * 1e3 / rate);
    }
    /**
     * @param {number} size bytes that would go next
     * @returns {number} what of them may go at once
     */
    portion(size) {
      const rate = this.#rate;
      return rate ? Math.min(size, Math.max(SMALLEST_PORTION, Math.floor(rate * PORTION_SECONDS))) : size;
    }
    /** @param {number} bytes */
    spend(bytes) {
      if (this.#rate) this.#tokens -= bytes;
    }
    /** Whether it is this limit, not the line, that sets the speed. */
    get binding() {
      return this.#rate > 0 && this.#tokens < 0;
    }
  };

  // session/transport_selector.js
  var SHORT_LIFE = 5e3;
  var SHORT_LIVES = 3;
  var PATIENCE = 3;
  var BLOB_FAILURES = 2;
  var TransportSelector = class {
    #store;
    /** @type {Kind} */
    #preferred = "websocket";
    #failures = 0;
    #short_lives = 0;
    #unheard = 0;
    /** @param {TransportMemory} store */
    constructor(store) {
      this.#store = store;
    }
    /** @returns {Kind} what to connect by */
    get kind() {
      return this.#store.wanted === "auto" ? this.#preferred : this.#store.wanted;
    }
    /** Whether this upload goes over HTTP although a WebSocket is wanted. */
    get fallen_back() {
      return this.#store.wanted === "auto" && this.#preferred === "http";
    }
    /**
     * A connection could not be had.
     * @param {Kind} kind
     * @returns {boolean} whether to try the other kind at once
     */
    failed(kind) {
      if (kind !== this.kind) return false;
      if (this.#store.wanted !== "auto") return false;
      this.#failures++;
      const patience = kind === "http" || this.#store.websocket_works ? PATIENCE : 1;
      if (this.#failures < patience) return false;
      this.#prefer(kind === "http" ? "websocket" : "http");
      return kind === "websocket";
    }
    /**
     * The server has answered.
     * @param {Kind} kind
     */
    welcomed(kind) {
      this.#failures = 0;
      if (kind === "websocket") this.#store.websocket_works = true;
    }
    /**
     * A connection that had been welcomed has ended without a word of explanation.
     * @param {Kind} kind
     * @param {number} lived milliseconds
     */
    cut(kind, lived) {
      if (kind !== "websocket") return;
      this.#short_lives = lived < SHORT_LIFE ? this.#short_lives + 1 : 0;
      if (this.#short_lives < SHORT_LIVES) return;
      this.#short_lives = 0;
      this.#prefer("http");
    }
    /** Chunks do not get through a WebSocket although it stands. */
    swallowed() {
      this.unheard();
      this.#prefer("http");
    }
    /**
     * Chunks were acknowledged. Only that, not a welcome, shows that a WebSocket tried on the side is of use.
     * @param {Kind} kind
     */
    heard(kind) {
      this.#unheard = 0;
      if (kind === "websocket" && this.#preferred === "http") this.#prefer("websocket");
    }
    /**
     * A connection has ended with chunks on their way. Some browsers never finish to send a Blob that is part of a file:
     * what has failed twice is sent the other way.
     */
    unheard() {
      if (++this.#unheard % BLOB_FAILURES === 0) this.#store.blobs_fail = !this.#store.blobs_fail;
    }
    /** @param {Kind} kind */
    #prefer(kind) {
      this.#preferred = kind;
      this.#failures = 0;
    }
  };

  // session/session.js
  var CANCEL_ANSWERED_WITHIN = 8e3;
  var Session = class {
    #page;
    #file;
    #check;
    #owner;
    #pool;
    #selector;
    #sizer;
    #reconnection;
    #stall_detector;
    #id;
    /** @type {number | undefined} */
    #epoch;
    /** @type {Welcome | null} */
    #limits = null;
    #running = false;
    #connected = false;
    #connected_at = 0;
    #cancelling = false;
    /** @type {unknown} */
    #cancel_timer = null;
    /** Whether the server, by its last word, still waits for bytes. */
    #receiving = true;
    /** @type {Problem | null} why it is waiting, if the server said why */
    problem = null;
    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {string} ticket
     * @param {File} file
     * @param {import("../uploader/file_check.js").FileCheck} check
     * @param {() => number} max_rate bytes a second, 0 for none
     * @param {Owner} owner
     */
    constructor(page2, ticket, file, check, max_rate, owner) {
      this.#page = page2;
      this.#file = file;
      this.#check = check;
      this.#owner = owner;
      this.#id = session_name(page2.env.random);
      this.#reconnection = new Reconnection(page2.env, check, {
        connect: () => this.#pool.open(this.#selector.kind, this.#hello()),
        failed: (problem2) => this.#fail(problem2)
      });
      this.#selector = new TransportSelector(page2.transports);
      this.scheduler = new ChunkScheduler(file.size);
      const rates = new RateController();
      const bucket = new TokenBucket(() => [max_rate(), this.#limits?.max_rate ?? 0]);
      this.#pool = new ConnectionPool(page2.env, this.scheduler, rates, bucket, {
        connect: (kind, listener) => page2.connect(kind, ticket, file, listener),
        welcomed: (pooled, welcome) => this.#welcomed(pooled, welcome),
        acked: (pooled, bytes) => this.#acked(pooled, bytes),
        told: (outcome) => this.#told(outcome),
        may_complete: () => check.confirmed((problem2) => this.#confirmed(problem2)),
        lost: (pooled, problem2, oldest) => this.#lane_lost(pooled, problem2, oldest)
      });
      this.#sizer = new PoolSizer(page2, this.#pool, this.scheduler, rates, bucket, this.#selector, () => this.#hello());
      this.#stall_detector = new StallDetector(page2, ticket, {
        waiting: () => this.scheduler.chunks_ahead > 0,
        swallowed: () => {
          this.#selector.swallowed();
          this.#anew();
        },
        doubtful: () => this.#anew()
      });
    }
    get connected() {
      return this.#connected;
    }
    /** @returns {"websocket" | "http" | ""} */
    get transport() {
      return this.#pool.welcomed[0]?.connection.kind ?? "";
    }
    /** Whether chunks are on their way. */
    get flowing() {
      return this.#connected && !this.scheduler.complete;
    }
    /** Takes the upload over from whoever else holds its ticket. */
    start() {
      this.#running = true;
      this.#epoch = void 0;
      this.problem = null;
      this.#reconnection.reset();
      this.#reconnection.now();
    }
    /** Without a word to the server. Nothing that is pending happens any more. */
    stop() {
      this.#halt();
      this.#pool.close();
    }
    pause() {
      this.#halt();
      const connection = this.#pool.quickest;
      connection?.pause();
      this.#pool.close(connection);
    }
    /** @param {string} reason */
    cancel(reason) {
      this.#cancelling = true;
      this.#stall_detector.stop();
      this.#pool.hold();
      this.#pool.quickest?.cancel(reason);
      this.#cancel_timer = this.#page.env.after(CANCEL_ANSWERED_WITHIN, () => this.#unanswered());
    }
    /**
     * A moment in which connecting may succeed. It ends no wait that the server asked for.
     * @param {boolean} doubtful whether connections may have died unnoticed
     */
    revive(doubtful) {
      if (!this.#running || this.#cancelling) return;
      if (this.#connected && this.#pool.count > 0) {
        if (doubtful) this.#pool.check();
      } else if ((doubtful || this.#pool.count === 0) && this.problem?.retry_after == null) {
        this.#pool.close();
        this.#reconnection.now();
      }
    }
    #halt() {
      this.#running = false;
      this.#connected = false;
      this.#end_cancel();
      this.#reconnection.stop();
      this.#stall_detector.stop();
    }
    #end_cancel() {
      this.#cancelling = false;
      this.#page.env.stop(this.#cancel_timer);
    }
    /** @returns {import("../transport/messages.js").Hello} */
    #hello() {
      return { session: this.#id, epoch: this.#epoch, ...this.#check.identity };
    }
    /** @param {Problem | null} problem of the file that is about to become complete */
    #confirmed(problem2) {
      if (!this.#running) return;
      if (problem2) this.#fail(problem2);
      else this.#pool.pump();
    }
    /**
     * @param {PooledConnection} pooled
     * @param {Welcome} welcome
     */
    #welcomed(pooled, welcome) {
      this.#limits = welcome;
      this.#epoch = welcome.epoch;
      const first = !this.#connected;
      this.#selector.welcomed(pooled.connection.kind);
      this.#sizer.welcomed(pooled, first);
      if (first) {
        this.#connected_at = this.#page.env.now();
        this.scheduler.restart();
      }
      this.#connected = true;
      this.problem = null;
      this.scheduler.confirm(welcome.extents);
      this.#receiving = is_receiving(welcome.state);
      if (this.#cancelling && this.#receiving) return this.#owner.changed();
      if (!reason_follows(welcome.state)) this.#told({ state: welcome.state, reason: "", code: null });
      if (!this.#running) return;
      if (this.#receiving) this.#pool.flow();
      this.#after_progress();
      this.#owner.changed();
    }
    /**
     * @param {PooledConnection} pooled
     * @param {number} bytes
     */
    #acked(pooled, bytes) {
      this.#reconnection.reset();
      this.#selector.heard(pooled.connection.kind);
      this.#stall_detector.moved();
      if (this.#limits && !this.#cancelling) this.#sizer.acked(pooled, bytes, this.#limits);
      this.#after_progress();
      this.#owner.changed();
    }
    #after_progress() {
      if (this.#cancelling || !this.#running || !this.#receiving) return;
      if (this.scheduler.complete) this.#stall_detector.await_arrival();
      else if (this.transport === "websocket") this.#stall_detector.watch_chunks();
    }
    #anew() {
      this.#pool.close();
      this.#connected = false;
      this.#reconnection.now();
      this.#owner.changed();
    }
    /** @param {Outcome} outcome */
    #told(outcome) {
      this.#receiving = is_receiving(outcome.state);
      if (!this.#receiving) {
        this.#pool.hold();
        this.#stall_detector.stop();
        if (has_arrived(outcome.state)) this.scheduler.confirm([[0, this.#file.size]]);
      }
      this.#owner.told(outcome);
    }
    /**
     * @param {PooledConnection} pooled
     * @param {Problem | null} problem
     * @param {[number, number] | undefined} oldest chunk that was on its way
     */
    async #lane_lost(pooled, problem2, oldest) {
      if (problem2 && !problem2.retry && !ASK_AGAIN.has(problem2.code)) return this.#fail(problem2);
      const { attempt } = this.#reconnection;
      if (!problem2 && oldest) {
        const found = await this.#check.doubt(oldest);
        if (attempt !== this.#reconnection.attempt) return;
        if (found) return this.#fail(found);
        this.#selector.unheard();
      }
      if (this.#pool.welcomed.length > 0) {
        this.#sizer.lost();
        return this.#owner.changed();
      }
      const { kind } = pooled.connection;
      if (!problem2 && !this.#connected && this.#selector.failed(kind)) return this.#reconnection.now();
      if (!problem2 && this.#connected) this.#selector.cut(kind, this.#page.env.now() - this.#connected_at);
      this.#lost(problem2);
      this.#owner.changed();
    }
    /** @param {Problem | null} problem */
    #lost(problem2) {
      this.#connected = false;
      this.#stall_detector.stop();
      this.#pool.close();
      if (this.#cancelling && !(problem2 && ASK_AGAIN.has(problem2.code))) return this.#unanswered();
      this.#end_cancel();
      if (problem2?.retry) this.problem = problem2;
      this.#reconnection.later(problem2?.retry_after);
    }
    #unanswered() {
      this.stop();
      this.#owner.unanswered();
    }
    /** @param {Problem} problem */
    #fail(problem2) {
      this.stop();
      this.#owner.failed(problem2);
    }
  };

  // uploader/uploader.js
  var RUNNING = /* @__PURE__ */ new Set(["connecting", "transferring", "waiting", "handing_over", "cancelling"]);
  var Uploader = class {
    /** @type {Callback} */
    onprogress = null;
    /** @type {Callback} */
    onfinished = null;
    /** @type {Callback} */
    onfinish = null;
    /** @type {Callback} */
    oncancelled = null;
    /** @type {Callback} */
    onerror = null;
    /** Bytes a second that the upload is held to, 0 for no limit; may be set at any time. */
    max_rate = 0;
    /** Whether the browser asks before the page is left while this upload runs; may be set at any time. */
    warn_on_leave = false;
    upload_id;
    filename;
    bytes_total;
    bytes_tx = 0;
    bytes_acked = 0;
    bytes_ahead = 0;
    frac_complete = 0;
    chunks_tx_now = 0;
    chunks_acked_now = 0;
    chunks_ahead = 0;
    state_msg = "not yet started";
    cancel_msg = "";
    /** @type {number | null} */
    error_code = null;
    error_msg = "";
    connected = false;
    finished = false;
    paused = false;
    can_pause = false;
    cancelling = false;
    cancelled = false;
    can_cancel = true;
    /** @type {"websocket" | "http" | ""} */
    transport = "";
    #page;
    #session;
    /** @type {import("./state_machine.js").Phase} */
    #phase = "idle";
    /** @type {import("../transport/messages.js").State} */
    #server_state = "new";
    #reason = "";
    /** @type {Problem | null} */
    #problem = null;
    /** @type {CallbackName[]} callbacks that are due after the next onprogress */
    #due = [];
    #publishing = false;
    #file;
    #handle;
    #can_continue = false;
    /** @type {import("../page/page_context.js").Upload} */
    #presence = {
      revive: (doubtful) => this.#session.revive(doubtful),
      remember: () => this.#remember(true),
      warns: () => this.warn_on_leave
    };
    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {string} upload_id
     * @param {File} file
     * @param {{handle?: FileSystemFileHandle | null}} [options]
     */
    constructor(page2, upload_id, file, { handle = null } = {}) {
      if (typeof upload_id !== "string" || !upload_id) throw bad_argument("the first argument is an upload id");
      if (kind_of(file) !== "File") throw bad_argument(`the second argument must be a File; given: ${kind_of(file)}`);
      this.upload_id = upload_id;
      this.filename = base_name(file.name);
      this.bytes_total = file.size;
      this.#page = page2;
      this.#file = file;
      this.#handle = handle;
      this.#session = new Session(page2, upload_id, file, new FileCheck(page2.env, file), () => this.max_rate, {
        changed: () => this.#follow(),
        told: (outcome) => this.#told(outcome),
        failed: (problem2) => this.#fail(problem2),
        unanswered: () => this.#cancel_offline()
      });
    }
    /**
     * Starts the upload, goes on after a pause, or tries again after an error. Nothing happens while it runs or when it
     * has ended.
     */
    start() {
      if (!this.#move("start")) return this;
      this.#problem = null;
      this.#session.start();
      this.#keep_handle();
      return this.#publish();
    }
    /**
     * Nothing happens where `can_pause` is false, or to 'unpause' what is not paused.
     * @param {"pause" | "unpause" | "toggle"} what
     */
    pause(what) {
      if (!["pause", "unpause", "toggle"].includes(what)) throw bad_argument("pause() takes 'pause', 'unpause' or 'toggle'");
      if (this.paused) return what === "pause" ? this : this.start();
      if (what === "unpause" || !this.can_pause || !this.#move("pause")) return this;
      this.#session.pause();
      return this.#publish();
    }
    /**
     * Nothing happens where `can_cancel` is false.
     * @param {string} [reason]
     */
    cancel(reason = "") {
      if (!this.can_cancel) return this;
      this.#reason = String(reason);
      if (this.#session.connected && this.#move("cancel")) this.#session.cancel(this.#reason);
      else this.#cancel_offline();
      return this.#publish();
    }
    #cancel_offline() {
      this.#session.stop();
      if (this.#move("drop")) this.#page.outbox.cancel(this.upload_id, this.#reason);
      this.#publish();
    }
    #follow() {
      if (!this.#session.connected) this.#move("lose");
      else if (this.#session.scheduler.complete) this.#move("arrive");
      this.#publish();
    }
    /** @param {Outcome} outcome */
    #told({ state, reason, code }) {
      this.#server_state = state;
      switch (state) {
        case "new":
        case "uploading":
          if (!this.#session.scheduler.complete) this.#move("connect");
          break;
        case "finished":
          this.#end("finish");
          break;
        case "cancelled":
          this.#reason = reason;
          this.#end("cancelled");
          break;
        case "failed":
          this.#problem = fatal(code ?? HANDOVER_FAILED, reason);
          this.#end("fail");
          break;
        default:
          this.#move("arrive");
      }
      this.#publish();
    }
    /** @param {Problem} problem */
    #fail(problem2) {
      this.#problem = problem2;
      this.#end("fail");
      this.#publish();
    }
    /** @param {Event} event */
    #end(event) {
      this.#session.stop();
      this.#move(event);
    }
    /**
     * @param {Event} event
     * @returns {boolean} whether it could happen
     */
    #move(event) {
      const next = next_phase(this.#phase, event);
      if (!next) return false;
      this.#phase = next;
      if (next === "finished") this.#due.push("onfinished", "onfinish");
      if (next === "cancelled") this.#due.push("oncancelled");
      if (next === "failed") this.#due.push("onerror");
      return true;
    }
    /** Tells the page what has changed; a callback that acts on the uploader is told of that after it has returned. */
    #publish() {
      if (this.#publishing) return this;
      this.#publishing = true;
      while (this.#update()) {
        this.#remember(false);
        this.#call("onprogress");
        for (const name of this.#due.splice(0)) this.#call(name);
      }
      this.#publishing = false;
      this.#page.follow(this.#presence, RUNNING.has(this.#phase), this.#session.flowing);
      return this;
    }
    /** @param {boolean} at_once */
    #remember(at_once) {
      const { unfinished: unfinished2 } = this.#page;
      const { connected, scheduler } = this.#session;
      if (this.#phase === "finished" || this.#phase === "cancelled") return unfinished2.forget(this.upload_id);
      if (this.#phase === "failed") {
        const code = this.#problem?.code ?? 0;
        if (code !== TAKEN_OVER && TICKET_IS_OVER.has(code)) unfinished2.forget(this.upload_id);
      } else if (connected || at_once) {
        const progress = { bytes_acked: scheduler.bytes_acked, can_continue: this.#can_continue };
        unfinished2.note(this.upload_id, this.#file, progress, at_once);
      }
    }
    async #keep_handle() {
      const known = this.#page.unfinished.list().find((entry) => entry.ticket === this.upload_id);
      this.#can_continue ||= known?.can_continue ?? false;
      if (!this.#handle || this.#can_continue || !this.#page.store.enabled) return;
      this.#can_continue = await this.#page.handles.keep(this.upload_id, this.#handle);
      if (this.#can_continue && RUNNING.has(this.#phase)) this.#remember(true);
    }
    /** @returns {import("./public_state.js").Facts} */
    #facts() {
      const { scheduler, connected, transport } = this.#session;
      const problem2 = this.#phase === "failed" ? this.#problem : this.#session.problem;
      const [phase, bytes_total, server_state, reason] = [this.#phase, this.bytes_total, this.#server_state, this.#reason];
      return { phase, bytes_total, scheduler, connected, transport, server_state, reason, problem: problem2 };
    }
    /** @returns {boolean} whether anything observable has changed */
    #update() {
      let changed2 = false;
      const fields = (
        /** @type {Record<string, unknown>} */
        /** @type {unknown} */
        this
      );
      for (const [name, value] of Object.entries(observe(this.#facts()))) {
        if (fields[name] === value) continue;
        fields[name] = value;
        changed2 = true;
      }
      return changed2;
    }
    /** @param {CallbackName} name */
    #call(name) {
      try {
        this[name]?.(this);
      } catch (error) {
        this.#page.env.after(0, () => {
          throw error;
        });
      }
    }
  };
  function bad_argument(message) {
    return Object.assign(new TypeError(`incoming: ${message}`), { code: BAD_ARGUMENT });
  }
  function kind_of(value) {
    return Object.prototype.toString.call(value).slice("[object ".length, -1);
  }
  function base_name(name) {
    return name.replace(/^.*[/\\]/s, "") || "file";
  }

  // index.js
  var import_meta = {};
  var script = typeof document === "undefined" ? null : document.currentScript;
  var page = new PageContext(browser(), {
    page_host: globalThis.location?.host ?? "",
    page_protocol: globalThis.location?.protocol ?? "https:",
    script: script && "src" in script ? String(script.src) : import_meta.url ?? null
  });
  page.outbox.resume();
  function set_server_hostname(hostname) {
    page.hostname = String(hostname ?? "");
  }
  function set_transport(transport) {
    if (!["auto", "websocket", "http"].includes(transport)) {
      throw new TypeError("incoming: set_transport() takes 'auto', 'websocket' or 'http'");
    }
    page.transports.wanted = transport;
  }
  function unfinished() {
    return page.unfinished.list();
  }
  function match(file) {
    return page.unfinished.match(file);
  }
  function forget(ticket) {
    page.unfinished.forget(ticket);
  }
  function set_remember(wanted) {
    if (!wanted) page.unfinished.forget_all();
    page.store.enabled = Boolean(wanted);
  }
  async function continue_upload(ticket) {
    const handle = await page.handles.find(ticket);
    if (!handle) throw new Error(`incoming: no file is remembered for upload ${ticket}`);
    if (!await may_read(handle)) throw new Error("incoming: the file may not be read");
    return new Uploader(page, ticket, await handle.getFile(), { handle });
  }
  async function may_read(handle) {
    if (!handle.queryPermission) return true;
    const wanted = { mode: "read" };
    if (await handle.queryPermission(wanted) === "granted") return true;
    return await handle.requestPermission(wanted) === "granted";
  }
  function create(upload_id, file, options) {
    return new Uploader(page, upload_id, file, options);
  }
  create.prototype = Uploader.prototype;
  var Uploader2 = (
    /** @type {import("./incoming.js").UploaderConstructor} */
    /** @type {unknown} */
    create
  );
  return __toCommonJS(index_exports);
})();
