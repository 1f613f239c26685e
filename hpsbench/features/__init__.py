"""From frames to CNN features: decode, crop, batch, backbones."""
