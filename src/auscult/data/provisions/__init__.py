"""How data come to be there, one file each; its class `Provision` is found by the file's name."""
