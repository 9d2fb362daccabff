"""What operators see: counters, connections, reports of workers, Prometheus metrics."""
