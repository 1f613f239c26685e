"""Sweeps: one system under many corruptions, or at many sequence lengths."""
