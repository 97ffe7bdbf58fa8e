"""The stages of the loop, and experiments made of them."""
