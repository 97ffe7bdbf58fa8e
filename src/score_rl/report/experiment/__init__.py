"""Tables, pictures and pages of experiments."""
