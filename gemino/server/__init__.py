"""The browser demo's server: a page, and a try-out of the codec with the browser's own camera."""
