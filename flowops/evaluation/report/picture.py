"""Images inside a page: PNG files as text."""

from __future__ import annotations

import base64
import html
import io

from torch import Tensor

from flowops._named import require
from flowops.pictures import image_grid


def picture(x: Tensor, told: str) -> str:
    """Images `[n, c, h, w]` in one row as an HTML image that holds its own data; what is not finite is grey.

    Raises:
        ImportError: without torchvision and pillow; the message names the extra.
    """
    grid, held = image_grid(x.nan_to_num(nan=0.0), len(x)), io.BytesIO()
    require("PIL.Image", "images").fromarray(grid).save(held, "PNG")
    data = base64.b64encode(held.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" width="{grid.shape[1]}" alt="{html.escape(told)}">'
