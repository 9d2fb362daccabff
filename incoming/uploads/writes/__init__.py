"""The bytes on their way to the store: receive buffers, flow control, held and pending writes, checkpoints."""
