"""Methods that turn real images into images that may be shared: latent walks, averages of groups, VAE-GANs."""
