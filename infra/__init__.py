"""Everything that runs dualcast somewhere: the embedded stack, the demo, containers and clusters."""
