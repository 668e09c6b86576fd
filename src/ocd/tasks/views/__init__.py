"""Novel views of a scene with TinyNeRF."""
