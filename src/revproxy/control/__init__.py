"""The running process: what joins the network, the certificates and the configuration."""
