"""What a service keeps in memory: curves, recent observations, errors so far, and the feeds that fill them."""
