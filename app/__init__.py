"""The service without torch and without a broker: HTTP, use cases, SQL and the pure domain."""
