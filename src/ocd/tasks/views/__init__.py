"""Novel views of a scene with TinyNeRF (Sec. 4.2): one example is one view.

`blender.py` reads a scene, `radiance.py` is the base (a radiance field and its rendering),
`describing.py` sums up I(x) along the rays, and `nerf.py` makes the tasks. Inputs are camera poses
(B, 4, 4), targets are images (B, 3, H, W) with colours from 0 to 1. A view has ten thousand rays, so
that each step of Eq. 1 sees a random part of it.
"""
