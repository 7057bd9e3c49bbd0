"""Score against examples per class: what the next rows would buy."""
