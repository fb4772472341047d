"""The course's package: a VAE, the data, training, metrics, trained models, figures and widgets.

Read `vae.py` first; every other module builds on it.
"""

from vae_utils import backend  # first: it imports Keras without TensorFlow's start-up lines
from vae_utils.data import load_emoji, load_fashion_mnist, load_folder, load_mnist, pixel_log_odds, split_validation
from vae_utils.latent import interpolate_linear, interpolate_spherical, order_by_kl
from vae_utils.metrics import (
    active_units,
    importance_weighted_bound,
    kl_per_dimension,
    negative_elbo,
    psnr,
    slant,
    ssim,
    thickness,
)
from vae_utils.pretrained import load_pretrained, load_sweep_table, pretrained_record
from vae_utils.training import BernoulliDraws, GaussianNoise, train
from vae_utils.vae import (
    VAE,
    Sampler,
    build_decoder,
    build_encoder,
    kl_divergence,
    kl_divergence_per_dim,
    reconstruction_loss,
)
from vae_utils.widgets import explore, latent_sliders, noise_slider
