"""Speed as ratios: each program measures both sides in one run. ``make bench`` runs them all."""
