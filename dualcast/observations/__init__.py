"""The rules for measured values: what is valid, where it is on the grid, which vintage counts, how intervals add up."""
