"""The HTML report: what came out, in words, charts and images."""
