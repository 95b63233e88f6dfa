"""Pages that say what came out, assembled from results, data, curves and pictures."""
