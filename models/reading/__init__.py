"""How queries read the codes of an encoded image, fast."""
