"""Files into pixels: pictures, TIFF, and whatever people pass instead of a file; and back."""
