"""The protocols by which clients send: WebSocket, PUT, tus and resumable uploads, as adapters of the upload service."""
