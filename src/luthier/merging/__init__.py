"""Many models into one: read in parts, merged in fp32, written where each tensor's place is known before."""
