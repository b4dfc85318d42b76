"""Training of what is frozen later: the diffusion UNet and the text encoder."""
