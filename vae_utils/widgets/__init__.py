"""Widgets for notebooks: sliders over any Python function that returns images. They do not know what a VAE is.

Each picture is one lasting `ipywidgets.Image` whose PNG is exchanged. `panel.py` holds what all share; the drawing pad
is an ipycanvas `Canvas`, all else is made of core ipywidgets.
"""

from vae_utils.widgets.compiled import compiled_decoder
from vae_utils.widgets.drawing import as_mnist, draw_a_digit, rasterise
from vae_utils.widgets.interpolation import latent_walk
from vae_utils.widgets.latent_map import latent_map
from vae_utils.widgets.latent_sliders import latent_sliders
from vae_utils.widgets.noise_slider import noise_slider

__all__ = [
    "as_mnist", "compiled_decoder", "draw_a_digit", "latent_map", "latent_sliders", "latent_walk", "noise_slider",
    "rasterise",
]  # fmt: skip
