"""Configuration: what it may say (`schema`), and how it is checked (`validation`, `guard`)."""
