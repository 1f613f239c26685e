"""The synthetic world: body, motion, renderer and raw-layout writers."""
