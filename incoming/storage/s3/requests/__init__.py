"""Requests to an object store: operations, signatures, answers, connections, and when a request is tried again."""
