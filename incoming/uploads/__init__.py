"""Uploads in progress: the service that every protocol calls, takeover, completion and digests."""
