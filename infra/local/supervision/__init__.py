"""The supervisor process: starts, monitors, restarts and stops the components."""
