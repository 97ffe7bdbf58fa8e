"""The policy server: openpi's protocol, sessions, batching."""
