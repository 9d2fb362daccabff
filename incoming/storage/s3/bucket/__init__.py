"""One bucket in one process: its client with retries, checksums and spool, and what the store can and cannot do."""
