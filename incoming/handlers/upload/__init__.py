"""The protocols by which clients send: WebSocket and PUT, as adapters of the upload service."""
