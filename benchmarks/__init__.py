"""hurricane measured side by side with its peers: see docs/performance.md."""
