"""What the integration tests are written with: nodes, clients, and both ends of the wire."""
