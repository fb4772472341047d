"""Widgets for notebooks: sliders over any Python function that returns images. They do not know what a VAE is.

Each picture is one lasting `ipywidgets.Image` whose PNG is exchanged. `panel.py` holds what both share.
"""

from vae_utils.widgets.compiled import compiled_decoder
from vae_utils.widgets.latent_sliders import latent_sliders
from vae_utils.widgets.noise_slider import noise_slider

__all__ = ["compiled_decoder", "latent_sliders", "noise_slider"]
