"""A figure as a small data: URL: what a page shows that cannot reach the files in OUT."""

import base64
import io

WIDTH = 900  # pixels
SHADES = 64  # colours; a figure has few


def preview_url(png: bytes) -> str:
    """Return a PNG as a data: URL of some 10 to 40 kB, scaled down to 900 pixels and 64 colours."""
    from PIL import Image  # comes with matplotlib

    image = Image.open(io.BytesIO(png)).convert("RGB")
    width = min(WIDTH, image.width)
    height = max(1, round(image.height * width / image.width))
    small = image.resize((width, height), Image.Resampling.LANCZOS).quantize(SHADES)
    made = io.BytesIO()
    small.save(made, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(made.getvalue()).decode()}"
