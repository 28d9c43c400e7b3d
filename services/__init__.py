"""The services: day-ahead and intraday forecasts over HTTP, the page, and exports."""
