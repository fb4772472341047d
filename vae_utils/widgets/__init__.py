"""Widgets for notebooks: the explorer, which runs a VAE in the browser, and sliders over any Python function."""

from vae_utils.widgets.explore import explore, explorer_data
from vae_utils.widgets.latent_sliders import latent_sliders
from vae_utils.widgets.noise_slider import noise_slider

__all__ = ["explore", "explorer_data", "latent_sliders", "noise_slider"]
