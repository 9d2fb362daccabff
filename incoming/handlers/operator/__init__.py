"""The interface for operators: status page, metrics, health checks."""
