"""Base policies that another process serves, in an environment of their own."""
