"""The HTTP and WebSocket interface: Tornado in, domain types out. Handlers neither decide nor store."""
