"""A rendezvous server: WebSocket rooms of two that relay opaque JSON."""
