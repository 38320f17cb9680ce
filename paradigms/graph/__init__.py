"""Learning on graphs: each client has its own."""
