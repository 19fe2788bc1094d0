"""View photographs in a browser, and serve them by the IIIF Image API."""
