"""The base policy: conditional flow matching on action chunks."""
