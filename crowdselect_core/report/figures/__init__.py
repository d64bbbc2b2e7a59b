"""Static figures of a selection, as SVG and PNG: matplotlib is imported here alone."""
