"""The WebSocket of an upload: its reader, its send queue, and what its messages are turned into."""
