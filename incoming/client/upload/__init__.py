"""Sending a file from a program: over several connections, by WebSocket or HTTP, through every loss."""
