"""Uploads in progress: the service that every protocol calls, flow control, writes and checkpoints."""
