// The library's documented face without the library: tests and `window.uploaders[n].set({...})` play its part.
window.uploaders = [];
window.incoming = {
    set_server_hostname(hostname) {
        window.server_hostname = hostname;
    },
    Uploader(upload_id, file) {
        const uploader = {
            upload_id, filename: file.name, bytes_total: file.size, bytes_tx: 0, bytes_acked: 0, bytes_ahead: 0,
            frac_complete: 0, chunks_tx_now: 0, chunks_acked_now: 0, chunks_ahead: 0, state_msg: "not yet started",
            cancel_msg: "", error_code: null, error_msg: "", connected: false, finished: false, paused: false,
            can_pause: false, cancelling: false, cancelled: false, can_cancel: true,
            onprogress: null, onfinished: null, oncancelled: null, onerror: null,
            calls: [],
            start() {
                this.calls.push(["start"]);
                this.set({ connected: true, can_pause: true, state_msg: "uploading" });
            },
            pause(what) {
                this.calls.push(["pause", what]);
                const paused = what === "toggle" ? !this.paused : what === "pause";
                this.set({ paused, can_cancel: !paused, connected: !paused, state_msg: paused ? "paused" : "uploading" });
            },
            cancel(reason) {
                this.calls.push(["cancel", reason]);
                this.set({ cancelling: true, can_cancel: false, can_pause: false, state_msg: "cancelling" });
            },
            set(properties) {
                Object.assign(this, properties);
                this.onprogress?.(this);
                if (properties.finished) this.onfinished?.(this);
                if (properties.cancelled) this.oncancelled?.(this);
                if (properties.failed) this.onerror?.(this);
            },
        };
        window.uploaders.push(uploader);
        return uploader;
    },
};
