"""Published curves and recent observations in memory, the feeds that fill them, and the errors computed from them."""
