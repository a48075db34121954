"""The configuration groups; they install as `anchor.conf`."""
