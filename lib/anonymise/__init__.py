"""From latent points of real images to images that may be shared: walks between them, and averages of groups."""
