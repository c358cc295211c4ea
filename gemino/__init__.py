"""Gemino: a neural video-conferencing codec on WebRTC."""
