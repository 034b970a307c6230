"""Parts of the collector: this host, Prometheus endpoints, rates, and the outbox."""
