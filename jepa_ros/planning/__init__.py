"""Planning in latent space: problems, costs, samplers and the loop that turns frames into plans."""
