"""Fields and codings of HTTP, each by its RFC."""
