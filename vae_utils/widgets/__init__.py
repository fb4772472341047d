"""Widgets for notebooks: the explorer, which runs a VAE in the browser, and sliders over any Python function."""

from vae_utils.widgets.explore import explore, explorer_data
from vae_utils.widgets.panel import png_bytes
from vae_utils.widgets.sliders import latent_sliders, noise_slider

__all__ = ["explore", "explorer_data", "latent_sliders", "noise_slider", "png_bytes"]
