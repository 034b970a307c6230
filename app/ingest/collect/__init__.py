"""What the collector is made of: this host, Prometheus endpoints, rates, and the outbox."""
