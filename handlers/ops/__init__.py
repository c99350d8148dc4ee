"""Health and the web page."""
