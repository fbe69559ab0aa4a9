"""Tables, plots, overlays and the report page."""
